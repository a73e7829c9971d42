/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A pack file: many chunks, then their table. Numbers are little-endian.
 *
 *   0                 "BKDPACK1", 8 bytes
 *   8                 records (chunk.h), one behind the other
 *   T                 the table: for each record its ID (32), u64 offset, u32 size of the record, u32 length of the content
 *   end - 56          u64 T, u64 number of records, SHA-256 of the table, "BKDTAIL1"
 *
 * It becomes an object of the storage when it is complete. Where the tail is damaged the records are found one by one from the
 * front.
 */
#pragma once

#include "chunk.h"
#include "storage.h"

#define BK_PACK_SUFFIX ".pack"
#define BK_PACK_TARGET (64u * 1024 * 1024) /* a pack that is larger is closed */

typedef struct {
  BkChunkId id;
  uint64_t offset; /* of the record */
  uint32_t stored; /* of the record, with its head */
  uint32_t length;
} BkPackEntry;

typedef struct BkPackWriter BkPackWriter;

#define BK_PACK_FOLDER "packs"

/* The name of the object that pack @name is; (transfer full). */
char *bk_pack_object (const char *name);

/* A new name. @storage must outlive it. Appending needs the caller's lock; the rest does not. */
BkPackWriter *bk_pack_writer_new (BkStorage *storage, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Unless it was finished, nothing of it remains. */
void bk_pack_writer_free (BkPackWriter *writer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkPackWriter, bk_pack_writer_free)

const char *bk_pack_writer_name (BkPackWriter *writer);
uint64_t bk_pack_writer_size (BkPackWriter *writer);
GArray *bk_pack_writer_entries (BkPackWriter *writer); /* BkPackEntry; (transfer none) */
/* Adds a whole record of @size bytes. */
gboolean bk_pack_writer_append (BkPackWriter *writer, const BkChunkId *id, const uint8_t *record, size_t size, uint32_t length, BkPackEntry *entry, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* A record that was appended, also before the pack is finished. */
gboolean bk_pack_writer_read (BkPackWriter *writer, const BkPackEntry *entry, uint8_t *record, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The table; then it is on stable storage, under its name. */
gboolean bk_pack_writer_finish (BkPackWriter *writer, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* All records of pack @name of @size bytes, by its table, or one by one; (transfer full), BkPackEntry. CORRUPT when not even
 * its beginning is right; NOT_FOUND; FAILED when it cannot be read. */
GArray *bk_pack_read_entries (BkStorage *storage, const char *name, uint64_t size, GError **error) G_GNUC_WARN_UNUSED_RESULT;
