/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pack.h"

#include "ulid.h"

#include <string.h>

#define MAGIC "BKDPACK1"
#define TAIL_MAGIC "BKDTAIL1"
#define MAGIC_SIZE 8u
#define TAIL_SIZE 56u
#define ROW_SIZE 48u
/* Small enough to be in a processor's cache still when the kernel copies it. */
#define BUFFER_SIZE (256u * 1024)

struct BkPackWriter {
  char *name;
  BkStorageDraft *draft;
  uint64_t written; /* of the draft; the buffer comes behind it */
  GByteArray *buffer;
  GArray *entries;
};

char *
bk_pack_object (const char *name)
{
  return g_strconcat (BK_PACK_FOLDER "/", name, NULL);
}

BkPackWriter *
bk_pack_writer_new (BkStorage *storage, GError **error)
{
  g_autofree char *ulid = bk_ulid_new ();
  g_autofree char *name = g_strconcat (ulid, BK_PACK_SUFFIX, NULL);
  g_autofree char *object = bk_pack_object (name);
  BkStorageDraft *draft = bk_storage_draft (storage, object, error);
  if (draft == NULL)
    return NULL;
  BkPackWriter *writer = g_new0 (BkPackWriter, 1);
  writer->name = g_steal_pointer (&name);
  writer->draft = draft;
  writer->buffer = g_byte_array_sized_new (BUFFER_SIZE + BK_CHUNK_RECORD_LIMIT);
  writer->entries = g_array_new (FALSE, FALSE, sizeof (BkPackEntry));
  g_byte_array_append (writer->buffer, (const uint8_t *)MAGIC, MAGIC_SIZE);
  return writer;
}

void
bk_pack_writer_free (BkPackWriter *writer)
{
  bk_storage_draft_free (writer->draft);
  g_byte_array_unref (writer->buffer);
  g_array_unref (writer->entries);
  g_free (writer->name);
  g_free (writer);
}

const char *
bk_pack_writer_name (BkPackWriter *writer)
{
  return writer->name;
}

uint64_t
bk_pack_writer_size (BkPackWriter *writer)
{
  return writer->written + writer->buffer->len;
}

GArray *
bk_pack_writer_entries (BkPackWriter *writer)
{
  return writer->entries;
}

static gboolean
flush (BkPackWriter *writer, GError **error)
{
  size_t length = writer->buffer->len;
  if (!bk_storage_draft_append (writer->draft, writer->buffer->data, length, error))
    return FALSE;
  writer->written += length;
  g_byte_array_set_size (writer->buffer, 0);
  return TRUE;
}

gboolean
bk_pack_writer_append (BkPackWriter *writer, const BkChunkId *id, const uint8_t *record, size_t size, uint32_t length, BkPackEntry *entry, GError **error)
{
  if (writer->buffer->len >= BUFFER_SIZE && !flush (writer, error))
    return FALSE;
  *entry = (BkPackEntry){ .id = *id, .offset = bk_pack_writer_size (writer), .stored = (uint32_t)size, .length = length };
  g_byte_array_append (writer->buffer, record, (unsigned)size);
  g_array_append_val (writer->entries, *entry);
  return TRUE;
}

gboolean
bk_pack_writer_read (BkPackWriter *writer, const BkPackEntry *entry, uint8_t *record, GError **error)
{
  if (entry->offset < writer->written)
    return bk_storage_draft_read (writer->draft, entry->offset, record, entry->stored, error);
  memcpy (record, writer->buffer->data + (entry->offset - writer->written), entry->stored);
  return TRUE;
}

/* --- the table --- */

static void
put_row (uint8_t *row, const BkPackEntry *entry)
{
  uint64_t offset = GUINT64_TO_LE (entry->offset);
  uint32_t numbers[2] = { GUINT32_TO_LE (entry->stored), GUINT32_TO_LE (entry->length) };
  memcpy (row, &entry->id, sizeof entry->id);
  memcpy (row + 32, &offset, sizeof offset);
  memcpy (row + 40, numbers, sizeof numbers);
}

static BkPackEntry
get_row (const uint8_t *row)
{
  uint64_t offset;
  uint32_t numbers[2];
  BkPackEntry entry;
  memcpy (&entry.id, row, sizeof entry.id);
  memcpy (&offset, row + 32, sizeof offset);
  memcpy (numbers, row + 40, sizeof numbers);
  entry.offset = GUINT64_FROM_LE (offset);
  entry.stored = GUINT32_FROM_LE (numbers[0]);
  entry.length = GUINT32_FROM_LE (numbers[1]);
  return entry;
}

static void
append_table (BkPackWriter *writer)
{
  uint64_t numbers[2] = { GUINT64_TO_LE (bk_pack_writer_size (writer)), GUINT64_TO_LE ((uint64_t)writer->entries->len) };
  uint8_t hash[BK_HASH_SIZE];
  g_autofree uint8_t *table = g_malloc ((size_t)writer->entries->len * ROW_SIZE + 1);
  for (unsigned i = 0; i < writer->entries->len; i++)
    put_row (table + (size_t)i * ROW_SIZE, &g_array_index (writer->entries, BkPackEntry, i));
  bk_crypto_sha256 (table, (size_t)writer->entries->len * ROW_SIZE, hash);
  g_byte_array_append (writer->buffer, table, writer->entries->len * ROW_SIZE);
  g_byte_array_append (writer->buffer, (const uint8_t *)numbers, sizeof numbers);
  g_byte_array_append (writer->buffer, hash, sizeof hash);
  g_byte_array_append (writer->buffer, (const uint8_t *)TAIL_MAGIC, MAGIC_SIZE);
}

gboolean
bk_pack_writer_finish (BkPackWriter *writer, GError **error)
{
  append_table (writer);
  return flush (writer, error) && bk_storage_draft_publish (writer->draft, error);
}

static bool
is_sound (const BkPackEntry *entry, uint64_t end)
{
  return entry->offset >= MAGIC_SIZE && entry->stored > BK_CHUNK_HEAD && entry->stored <= BK_CHUNK_RECORD_LIMIT && entry->offset <= end &&
         entry->stored <= end - entry->offset && entry->length > 0 && entry->length <= BK_CHUNK_LIMIT;
}

/* NULL: there is no table to trust. */
static GArray *
read_table (BkStorage *storage, const char *object, uint64_t size)
{
  uint8_t tail[TAIL_SIZE], hash[BK_HASH_SIZE];
  uint64_t numbers[2];
  if (size < MAGIC_SIZE + TAIL_SIZE || !bk_storage_read (storage, object, size - TAIL_SIZE, tail, sizeof tail, NULL))
    return NULL;
  memcpy (numbers, tail, sizeof numbers);
  uint64_t start = GUINT64_FROM_LE (numbers[0]), count = GUINT64_FROM_LE (numbers[1]), end = size - TAIL_SIZE;
  if (memcmp (tail + 48, TAIL_MAGIC, MAGIC_SIZE) != 0 || start < MAGIC_SIZE || start > end || (end - start) % ROW_SIZE != 0 ||
      (end - start) / ROW_SIZE != count || count > G_MAXINT32)
    return NULL;
  g_autofree uint8_t *table = g_try_malloc (end - start + 1);
  if (table == NULL || !bk_storage_read (storage, object, start, table, end - start, NULL))
    return NULL;
  bk_crypto_sha256 (table, end - start, hash);
  if (memcmp (hash, tail + 16, sizeof hash) != 0)
    return NULL;
  g_autoptr (GArray) entries = g_array_sized_new (FALSE, FALSE, sizeof (BkPackEntry), (unsigned)count);
  for (uint64_t i = 0; i < count; i++) {
    BkPackEntry entry = get_row (table + i * ROW_SIZE);
    if (!is_sound (&entry, start))
      return NULL;
    g_array_append_val (entries, entry);
  }
  return g_steal_pointer (&entries);
}

static GArray *
scan (BkStorage *storage, const char *object, uint64_t size)
{
  uint8_t bytes[BK_CHUNK_HEAD];
  BkChunkHead head;
  GArray *entries = g_array_new (FALSE, FALSE, sizeof (BkPackEntry));
  uint64_t offset = MAGIC_SIZE;
  while (offset + BK_CHUNK_HEAD < size && bk_storage_read (storage, object, offset, bytes, sizeof bytes, NULL) && bk_chunk_parse_head (bytes, &head)) {
    BkPackEntry entry = { .id = head.id, .offset = offset, .stored = BK_CHUNK_HEAD + head.stored, .length = head.length };
    if (!is_sound (&entry, size))
      break;
    g_array_append_val (entries, entry);
    offset += entry.stored;
  }
  return entries;
}

GArray *
bk_pack_read_entries (BkStorage *storage, const char *name, uint64_t size, GError **error)
{
  char magic[MAGIC_SIZE];
  g_autofree char *object = bk_pack_object (name);
  if (!bk_storage_read (storage, object, 0, magic, sizeof magic, error))
    return NULL;
  if (memcmp (magic, MAGIC, MAGIC_SIZE) != 0) {
    g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT, "'%s' is no pack", object);
    return NULL;
  }
  GArray *entries = read_table (storage, object, size);
  if (entries)
    return entries;
  g_warning ("'%s': its table is damaged; its chunks are looked for one by one", object);
  return scan (storage, object, size);
}
