/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One chunk as it stands in a pack: a head of 48 bytes, then the payload. Numbers are little-endian.
 *
 *   0  "CHNK"      8  u32 length of the payload      16 ID, 32 bytes
 *   4  u8 type    12  u32 length of the content      48 payload
 *   5  u8 flags: 1 compressed (zstd), 2 encrypted (nonce 12, ciphertext, tag 16)
 *   6  u16 zero
 *
 * The content is compressed, then encrypted; the head's type, flags, lengths and ID are bound to the ciphertext. Any thread.
 */
#pragma once

#include "crypto.h"

#define BK_CHUNK_HEAD 48
#define BK_CHUNK_LIMIT (4u * 1024 * 1024) /* content */

typedef enum { BK_CHUNK_DATA = 1, BK_CHUNK_PAGE = 2, BK_CHUNK_BLOB = 3 } BkChunkType;

typedef struct {
  uint8_t id[BK_HASH_SIZE];
} BkChunkId;

extern const BkChunkId bk_chunk_none; /* all zero: a chunk of zeroes, which is not stored */
bool bk_chunk_id_is_none (const BkChunkId *id);
bool bk_chunk_id_equal (const BkChunkId *a, const BkChunkId *b);

/* No record is larger: what does not get smaller is not compressed. */
#define BK_CHUNK_RECORD_LIMIT (BK_CHUNK_LIMIT + BK_CHUNK_HEAD + BK_SEAL_OVERHEAD)
/* The most that bk_chunk_encode() writes for @length bytes. */
size_t bk_chunk_bound (size_t length);

/* Writes head and payload to @out. @level: of zstd; 0 = no compression. Returns the bytes. */
size_t bk_chunk_encode (const BkCrypto *crypto, BkChunkType type, const BkChunkId *id, const void *data, size_t length, int level, uint8_t *out);

typedef struct {
  BkChunkType type;
  unsigned flags;
  uint32_t stored; /* of the payload */
  uint32_t length; /* of the content */
  BkChunkId id;
} BkChunkHead;

/* FALSE when it is no head. */
bool bk_chunk_parse_head (const uint8_t *in, BkChunkHead *head);

/* Gives the content of a whole record of @size bytes back, which must be that of @id, @type and @length; NULL, or what
 * is wrong with it. Nothing that was not hashed is given out as right. */
const char *bk_chunk_decode (const BkCrypto *crypto, BkChunkType type, const BkChunkId *id, const uint8_t *record, size_t size, void *out, size_t length);
