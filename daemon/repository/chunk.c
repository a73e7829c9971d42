/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "chunk.h"

#include <string.h>
#include <zstd.h>

#define FLAG_COMPRESSED 1u
#define FLAG_ENCRYPTED 2u
/* Up to this level zstd skips what it cannot compress at gigabytes a second; above, a sample tells what is not worth the time. */
#define FAST_LEVEL 3
#define SAMPLE (8u * 1024)

const BkChunkId bk_chunk_none = { { 0 } };

static void
free_compression (gpointer context)
{
  ZSTD_freeCCtx (context);
}

static void
free_decompression (gpointer context)
{
  ZSTD_freeDCtx (context);
}

/* One context for each thread. */
static GPrivate compression = G_PRIVATE_INIT (free_compression);
static GPrivate decompression = G_PRIVATE_INIT (free_decompression);
static GPrivate scratch = G_PRIVATE_INIT (g_free);

bool
bk_chunk_id_is_none (const BkChunkId *id)
{
  return memcmp (id, &bk_chunk_none, sizeof *id) == 0;
}

bool
bk_chunk_id_equal (const BkChunkId *a, const BkChunkId *b)
{
  return memcmp (a, b, sizeof *a) == 0;
}

size_t
bk_chunk_bound (size_t length)
{
  return BK_CHUNK_HEAD + ZSTD_compressBound (length) + BK_SEAL_OVERHEAD;
}

/* For what is compressed before it is encrypted, and the other way round. */
static uint8_t *
get_scratch (void)
{
  uint8_t *buffer = g_private_get (&scratch);
  if (buffer == NULL)
    g_private_set (&scratch, buffer = g_malloc (bk_chunk_bound (BK_CHUNK_LIMIT)));
  return buffer;
}

static void
put_head (uint8_t *out, BkChunkType type, unsigned flags, size_t stored, size_t length, const BkChunkId *id)
{
  uint32_t numbers[2] = { GUINT32_TO_LE ((uint32_t)stored), GUINT32_TO_LE ((uint32_t)length) };
  memcpy (out, "CHNK", 4);
  out[4] = (uint8_t)type;
  out[5] = (uint8_t)flags;
  out[6] = out[7] = 0;
  memcpy (out + 8, numbers, sizeof numbers);
  memcpy (out + 16, id, sizeof *id);
}

static size_t
compress (const void *data, size_t length, int level, uint8_t *out, size_t room)
{
  ZSTD_CCtx *context = g_private_get (&compression);
  if (context == NULL)
    g_private_set (&compression, context = ZSTD_createCCtx ());
  size_t size = ZSTD_compressCCtx (context, out, room, data, length, level);
  return ZSTD_isError (size) ? length : size;
}

/* Random bytes in the middle tell that a slow level has nothing to gain. Small chunks are tried as they are. */
static bool
looks_compressible (const char *data, size_t length, int level, uint8_t *out)
{
  if (level <= FAST_LEVEL || length < 4 * SAMPLE)
    return true;
  return compress (data + length / 2, SAMPLE, FAST_LEVEL, out, ZSTD_compressBound (SAMPLE)) < SAMPLE - SAMPLE / 32;
}

size_t
bk_chunk_encode (const BkCrypto *crypto, BkChunkType type, const BkChunkId *id, const void *data, size_t length, int level, uint8_t *out)
{
  bool encrypts = bk_crypto_encrypts (crypto);
  uint8_t *packed = encrypts ? get_scratch () : out + BK_CHUNK_HEAD;
  size_t size = length;
  unsigned flags = encrypts ? FLAG_ENCRYPTED : 0;
  g_assert (length <= BK_CHUNK_LIMIT);
  if (level > 0 && looks_compressible (data, length, level, packed))
    size = compress (data, length, level, packed, ZSTD_compressBound (length));
  if (size < length)
    flags |= FLAG_COMPRESSED;
  else
    size = length;
  const void *payload = size < length ? packed : data;
  size_t stored = size + (encrypts ? BK_SEAL_OVERHEAD : 0);
  put_head (out, type, flags, stored, length, id);
  if (encrypts)
    bk_crypto_seal (crypto, out, BK_CHUNK_HEAD, payload, size, out + BK_CHUNK_HEAD);
  else if (payload == data)
    memcpy (out + BK_CHUNK_HEAD, data, size);
  return BK_CHUNK_HEAD + stored;
}

bool
bk_chunk_parse_head (const uint8_t *in, BkChunkHead *head)
{
  uint32_t numbers[2];
  memcpy (numbers, in + 8, sizeof numbers);
  *head = (BkChunkHead){
    .type = in[4],
    .flags = in[5],
    .stored = GUINT32_FROM_LE (numbers[0]),
    .length = GUINT32_FROM_LE (numbers[1]),
  };
  memcpy (&head->id, in + 16, sizeof head->id);
  return memcmp (in, "CHNK", 4) == 0 && in[4] >= BK_CHUNK_DATA && in[4] <= BK_CHUNK_BLOB && in[5] <= 3 && in[6] == 0 && in[7] == 0 &&
         head->length > 0 && head->length <= BK_CHUNK_LIMIT && head->stored <= head->length + BK_SEAL_OVERHEAD;
}

static bool
decompress (const uint8_t *packed, size_t size, void *out, size_t length)
{
  ZSTD_DCtx *context = g_private_get (&decompression);
  if (context == NULL)
    g_private_set (&decompression, context = ZSTD_createDCtx ());
  size_t got = ZSTD_decompressDCtx (context, out, length, packed, size);
  return !ZSTD_isError (got) && got == length;
}

static const char *
unpack (const BkCrypto *crypto, const BkChunkHead *head, const uint8_t *record, void *out)
{
  const uint8_t *packed = record + BK_CHUNK_HEAD;
  size_t size = head->stored;
  if (bk_crypto_encrypts (crypto)) {
    bool direct = !(head->flags & FLAG_COMPRESSED);
    if (size < BK_SEAL_OVERHEAD || (direct && size - BK_SEAL_OVERHEAD != head->length))
      return "it has a wrong length";
    uint8_t *plain = direct ? out : get_scratch ();
    if (!bk_crypto_open (crypto, record, BK_CHUNK_HEAD, packed, size, plain))
      return "it was changed, or is of another key";
    packed = plain;
    size -= BK_SEAL_OVERHEAD;
  }
  if (head->flags & FLAG_COMPRESSED)
    return decompress (packed, size, out, head->length) ? NULL : "it cannot be decompressed";
  if (size != head->length)
    return "it has a wrong length";
  if (packed != out)
    memcpy (out, packed, size);
  return NULL;
}

const char *
bk_chunk_decode (const BkCrypto *crypto, BkChunkType type, const BkChunkId *id, const uint8_t *record, size_t size, void *out, size_t length)
{
  BkChunkHead head;
  BkChunkId found;
  if (size < BK_CHUNK_HEAD || !bk_chunk_parse_head (record, &head) || size != BK_CHUNK_HEAD + (size_t)head.stored)
    return "there is no chunk";
  if (head.type != type || !bk_chunk_id_equal (&head.id, id) || head.length != length)
    return "there is another chunk";
  if (((head.flags & FLAG_ENCRYPTED) != 0) != bk_crypto_encrypts (crypto))
    return "it is not encrypted as the repository is";
  const char *problem = unpack (crypto, &head, record, out);
  if (problem)
    return problem;
  bk_crypto_id (crypto, (uint8_t)type, out, length, found.id);
  return bk_chunk_id_equal (&found, id) ? NULL : "its content does not match its checksum";
}
