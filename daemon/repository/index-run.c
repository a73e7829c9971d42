/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "index-run.h"

#include "fsio.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "BKDINDX1"
#define MAGIC_SIZE 8u
#define BLOCK 4096u
#define ROW 32u
#define BLOCK_ROWS 127u
#define BLOCK_DATA (BLOCK_ROWS * ROW)
#define PACK 40u
#define PACK_NAME 32u
#define TAIL 64u
#define OFFSET_BITS 34u
#define STRIDE 32u /* blocks that a cursor or a writer handles at once */

G_STATIC_ASSERT (BLOCK_DATA + BK_HASH_SIZE == BLOCK);

struct BkIndexRun {
  int users; /* atomic */
  int fd;
  char *path;
  uint64_t rows, blocks;
  uint64_t *fences;
  uint8_t *packs; /* as in the file */
  unsigned pack_count;
  uint32_t *numbers;  /* of packs, for entries */
  uint8_t *verified;  /* a bit for each block */
  uint8_t *marks;     /* a bit for each row; or NULL */
  uint64_t in_buffer; /* the block that is; blocks = none */
  uint8_t buffer[BLOCK];
};

/* --- rows --- */

static uint64_t
get_u64 (const uint8_t *at)
{
  uint64_t number;
  memcpy (&number, at, sizeof number);
  return GUINT64_FROM_LE (number);
}

static uint32_t
get_u32 (const uint8_t *at)
{
  uint32_t number;
  memcpy (&number, at, sizeof number);
  return GUINT32_FROM_LE (number);
}

static void
put_u64 (uint8_t *at, uint64_t number)
{
  number = GUINT64_TO_LE (number);
  memcpy (at, &number, sizeof number);
}

static void
put_u32 (uint8_t *at, uint32_t number)
{
  number = GUINT32_TO_LE (number);
  memcpy (at, &number, sizeof number);
}

static void
put_row (uint8_t *row, const BkIndexEntry *entry)
{
  put_u64 (row, entry->key[0]);
  put_u64 (row + 8, entry->key[1]);
  put_u64 (row + 16, (uint64_t)entry->offset | (uint64_t)entry->stored << OFFSET_BITS);
  put_u32 (row + 24, entry->pack);
  put_u32 (row + 28, entry->length);
}

static void
get_key (const uint8_t *row, uint64_t key[2])
{
  key[0] = get_u64 (row);
  key[1] = get_u64 (row + 8);
}

static BkIndexEntry
get_row (const uint8_t *row)
{
  BkIndexEntry entry = { .pack = get_u32 (row + 24), .length = get_u32 (row + 28) & 0xffffff };
  uint64_t place = get_u64 (row + 16);
  get_key (row, entry.key);
  entry.offset = place & ((G_GUINT64_CONSTANT (1) << OFFSET_BITS) - 1);
  entry.stored = (place >> OFFSET_BITS) & 0xffffff;
  return entry;
}

static bool
get_bit (const uint8_t *bits, uint64_t i)
{
  return bits[i / 8] >> (i % 8) & 1;
}

static void
set_bit (uint8_t *bits, uint64_t i)
{
  bits[i / 8] |= (uint8_t)(1u << (i % 8));
}

/* --- opening --- */

static gboolean
refuse (const BkIndexRun *run, GError **error)
{
  g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT, "'%s' is damaged", run->path);
  return FALSE;
}

/* Checks the numbers of the tail against the file's size, so that nothing is believed that does not fit. */
static gboolean
parse_tail (BkIndexRun *run, const uint8_t tail[TAIL], uint64_t size, GError **error)
{
  uint64_t rows = get_u64 (tail + 8), packs = get_u64 (tail + 16), room = size - TAIL;
  if (memcmp (tail, MAGIC, MAGIC_SIZE) != 0 || rows / BLOCK_ROWS > room / BLOCK || packs > room / PACK || packs > G_MAXINT32)
    return refuse (run, error);
  run->rows = rows;
  run->blocks = (rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
  run->pack_count = (unsigned)packs;
  if (run->blocks * (BLOCK + sizeof *run->fences) + packs * PACK != room)
    return refuse (run, error);
  return TRUE;
}

/* Fences and packs lie one behind the other in the file, and one checksum is over both. */
static gboolean
load (BkIndexRun *run, uint64_t size, GError **error)
{
  uint8_t tail[TAIL], hash[BK_HASH_SIZE];
  if (size < TAIL)
    return refuse (run, error);
  if (!bk_fsio_read_at (run->fd, run->path, tail, sizeof tail, size - TAIL, error) || !parse_tail (run, tail, size, error))
    return FALSE;
  size_t fences = run->blocks * sizeof *run->fences, packs = (size_t)run->pack_count * PACK;
  g_autofree uint8_t *head = g_malloc (fences + packs + TAIL);
  if (!bk_fsio_read_at (run->fd, run->path, head, fences + packs, run->blocks * BLOCK, error))
    return FALSE;
  memcpy (head + fences + packs, tail, TAIL - BK_HASH_SIZE);
  bk_crypto_sha256 (head, fences + packs + TAIL - BK_HASH_SIZE, hash);
  if (memcmp (hash, tail + TAIL - BK_HASH_SIZE, sizeof hash) != 0)
    return refuse (run, error);
  run->fences = g_new (uint64_t, run->blocks + 1);
  for (uint64_t i = 0; i < run->blocks; i++)
    run->fences[i] = get_u64 (head + i * sizeof *run->fences);
  run->packs = g_memdup2 (head + fences, packs);
  run->numbers = g_new0 (uint32_t, run->pack_count + 1);
  run->verified = g_malloc0 (run->blocks / 8 + 1);
  run->in_buffer = run->blocks;
  return TRUE;
}

BkIndexRun *
bk_index_run_open (int fd, const char *path, GError **error)
{
  struct stat st;
  g_autoptr (BkIndexRun) run = g_new0 (BkIndexRun, 1);
  run->users = 1;
  run->fd = fd;
  run->path = g_strdup (path);
  if (fstat (fd, &st) < 0) {
    bk_error_set_errno (error, errno, "cannot look at '%s'", path);
    return NULL;
  }
  return load (run, (uint64_t)st.st_size, error) ? g_steal_pointer (&run) : NULL;
}

BkIndexRun *
bk_index_run_ref (BkIndexRun *run)
{
  g_atomic_int_inc (&run->users);
  return run;
}

void
bk_index_run_unref (BkIndexRun *run)
{
  if (!g_atomic_int_dec_and_test (&run->users))
    return;
  close (run->fd);
  g_free (run->path);
  g_free (run->fences);
  g_free (run->packs);
  g_free (run->numbers);
  g_free (run->verified);
  g_free (run->marks);
  g_free (run);
}

const char *
bk_index_run_path (BkIndexRun *run)
{
  return run->path;
}

uint64_t
bk_index_run_rows (BkIndexRun *run)
{
  return run->rows;
}

unsigned
bk_index_run_packs (BkIndexRun *run)
{
  return run->pack_count;
}

/* Its last byte is zero in all that the writer makes; it is looked at nevertheless. */
const char *
bk_index_run_pack_name (BkIndexRun *run, unsigned pack)
{
  const char *name = (const char *)run->packs + (size_t)pack * PACK;
  return name[PACK_NAME - 1] == '\0' ? name : "";
}

uint32_t
bk_index_run_pack_rows (BkIndexRun *run, unsigned pack)
{
  return get_u32 (run->packs + (size_t)pack * PACK + PACK_NAME);
}

void
bk_index_run_set_pack (BkIndexRun *run, unsigned pack, uint32_t number)
{
  run->numbers[pack] = number;
}

uint32_t
bk_index_run_get_pack (BkIndexRun *run, unsigned pack)
{
  return run->numbers[pack];
}

/* --- finding --- */

static gboolean
check_block (BkIndexRun *run, const uint8_t *block, GError **error)
{
  uint8_t hash[BK_HASH_SIZE];
  bk_crypto_sha256 (block, BLOCK_DATA, hash);
  return memcmp (hash, block + BLOCK_DATA, sizeof hash) == 0 || refuse (run, error);
}

static gboolean
fetch (BkIndexRun *run, uint64_t block, GError **error)
{
  if (run->in_buffer == block)
    return TRUE;
  run->in_buffer = run->blocks;
  if (!bk_fsio_read_at (run->fd, run->path, run->buffer, BLOCK, block * BLOCK, error))
    return FALSE;
  if (!get_bit (run->verified, block) && !check_block (run, run->buffer, error))
    return FALSE;
  set_bit (run->verified, block);
  run->in_buffer = block;
  return TRUE;
}

/* The last block that begins before @key; all before it have smaller keys alone. */
static uint64_t
block_before (const BkIndexRun *run, uint64_t key)
{
  uint64_t low = 0, high = run->blocks;
  while (low < high) {
    uint64_t middle = low + (high - low) / 2;
    if (run->fences[middle] < key)
      low = middle + 1;
    else
      high = middle;
  }
  return low > 0 ? low - 1 : 0;
}

static unsigned
rows_in (const BkIndexRun *run, uint64_t block)
{
  return (unsigned)MIN (BLOCK_ROWS, run->rows - block * BLOCK_ROWS);
}

/* In the block of the buffer: the first row that is not before @key; rows_in() = none. */
static unsigned
search_block (const BkIndexRun *run, const uint64_t key[2])
{
  unsigned low = 0, high = rows_in (run, run->in_buffer);
  while (low < high) {
    unsigned middle = low + (high - low) / 2;
    uint64_t other[2];
    get_key (run->buffer + (size_t)middle * ROW, other);
    if (bk_index_key_compare (other, key) < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

gboolean
bk_index_run_seek (BkIndexRun *run, const uint64_t key[2], uint64_t *row, GError **error)
{
  *row = run->rows;
  for (uint64_t block = block_before (run, key[0]); block < run->blocks; block++) {
    if (!fetch (run, block, error))
      return FALSE;
    unsigned found = search_block (run, key);
    if (found == rows_in (run, block))
      continue;
    *row = block * BLOCK_ROWS + found;
    return TRUE;
  }
  return TRUE;
}

/* Packs that are not there, or lengths that cannot be, are damage which no checksum shows. */
static gboolean
is_sound (const BkIndexRun *run, const BkIndexEntry *entry, GError **error)
{
  return (entry->pack < run->pack_count && entry->length > 0 && entry->length <= BK_CHUNK_LIMIT && entry->stored > BK_CHUNK_HEAD &&
          entry->stored <= BK_CHUNK_RECORD_LIMIT) ||
         refuse (run, error);
}

gboolean
bk_index_run_read (BkIndexRun *run, uint64_t row, BkIndexEntry *entry, GError **error)
{
  if (!fetch (run, row / BLOCK_ROWS, error))
    return FALSE;
  *entry = get_row (run->buffer + (size_t)(row % BLOCK_ROWS) * ROW);
  if (!is_sound (run, entry, error))
    return FALSE;
  entry->pack = run->numbers[entry->pack];
  return TRUE;
}

/* --- marks --- */

void
bk_index_run_begin_marks (BkIndexRun *run)
{
  g_free (run->marks);
  run->marks = g_malloc0 (run->rows / 8 + 1);
}

void
bk_index_run_end_marks (BkIndexRun *run)
{
  g_clear_pointer (&run->marks, g_free);
}

bool
bk_index_run_get_mark (BkIndexRun *run, uint64_t row)
{
  return run->marks && get_bit (run->marks, row);
}

void
bk_index_run_set_mark (BkIndexRun *run, uint64_t row)
{
  if (run->marks)
    set_bit (run->marks, row);
}

/* --- all of them --- */

struct BkIndexCursor {
  BkIndexRun *run;
  uint64_t row;
  uint64_t first, blocks; /* in the buffer */
  uint8_t *buffer;
  BkIndexEntry entry;
};

BkIndexCursor *
bk_index_cursor_new (BkIndexRun *run)
{
  BkIndexCursor *cursor = g_new0 (BkIndexCursor, 1);
  cursor->run = run;
  cursor->buffer = g_malloc ((size_t)STRIDE * BLOCK);
  return cursor;
}

void
bk_index_cursor_free (BkIndexCursor *cursor)
{
  g_free (cursor->buffer);
  g_free (cursor);
}

static gboolean
fill (BkIndexCursor *cursor, uint64_t block, GError **error)
{
  BkIndexRun *run = cursor->run;
  uint64_t count = MIN (STRIDE, run->blocks - block);
  if (!bk_fsio_read_at (run->fd, run->path, cursor->buffer, count * BLOCK, block * BLOCK, error))
    return FALSE;
  for (uint64_t i = 0; i < count; i++)
    if (!check_block (run, cursor->buffer + i * BLOCK, error))
      return FALSE;
  cursor->first = block;
  cursor->blocks = count;
  return TRUE;
}

gboolean
bk_index_cursor_next (BkIndexCursor *cursor, const BkIndexEntry **entry, GError **error)
{
  *entry = NULL;
  if (cursor->row == cursor->run->rows)
    return TRUE;
  uint64_t block = cursor->row / BLOCK_ROWS;
  if (block >= cursor->first + cursor->blocks && !fill (cursor, block, error))
    return FALSE;
  cursor->entry = get_row (cursor->buffer + (block - cursor->first) * BLOCK + (cursor->row % BLOCK_ROWS) * ROW);
  cursor->row++;
  *entry = &cursor->entry;
  return is_sound (cursor->run, &cursor->entry, error);
}

/* --- making one --- */

struct BkIndexRunWriter {
  int fd;
  char *path;
  uint64_t rows, written;
  GByteArray *buffer;
  GArray *fences;    /* uint64_t, as in the file */
  GPtrArray *names;  /* of packs; owns them */
  GHashTable *packs; /* name to number + 1 */
  GArray *counts;    /* uint32_t */
};

BkIndexRunWriter *
bk_index_run_writer_new (int fd, const char *path)
{
  BkIndexRunWriter *writer = g_new0 (BkIndexRunWriter, 1);
  writer->fd = fd;
  writer->path = g_strdup (path);
  writer->buffer = g_byte_array_sized_new (STRIDE * BLOCK);
  writer->fences = g_array_new (FALSE, FALSE, sizeof (uint64_t));
  writer->names = g_ptr_array_new_with_free_func (g_free);
  writer->packs = g_hash_table_new (g_str_hash, g_str_equal);
  writer->counts = g_array_new (FALSE, TRUE, sizeof (uint32_t));
  return writer;
}

void
bk_index_run_writer_free (BkIndexRunWriter *writer)
{
  g_byte_array_unref (writer->buffer);
  g_array_unref (writer->fences);
  g_hash_table_unref (writer->packs);
  g_ptr_array_unref (writer->names);
  g_array_unref (writer->counts);
  g_free (writer->path);
  g_free (writer);
}

uint32_t
bk_index_run_writer_add_pack (BkIndexRunWriter *writer, const char *name)
{
  const uint32_t none = 0;
  gpointer known = g_hash_table_lookup (writer->packs, name);
  g_assert (strlen (name) < PACK_NAME);
  if (known)
    return GPOINTER_TO_UINT (known) - 1;
  char *copy = g_strdup (name);
  g_ptr_array_add (writer->names, copy);
  g_array_append_val (writer->counts, none);
  g_hash_table_insert (writer->packs, copy, GUINT_TO_POINTER (writer->names->len));
  return writer->names->len - 1;
}

static gboolean
flush (BkIndexRunWriter *writer, GError **error)
{
  if (!bk_fsio_write_at (writer->fd, writer->path, writer->buffer->data, writer->buffer->len, writer->written, error))
    return FALSE;
  writer->written += writer->buffer->len;
  g_byte_array_set_size (writer->buffer, 0);
  return TRUE;
}

/* Fills the last block up, and adds its checksum. */
static gboolean
end_block (BkIndexRunWriter *writer, GError **error)
{
  uint8_t hash[BK_HASH_SIZE];
  unsigned used = writer->buffer->len % BLOCK, start = writer->buffer->len - used;
  g_byte_array_set_size (writer->buffer, start + BLOCK_DATA);
  memset (writer->buffer->data + start + used, 0, BLOCK_DATA - used);
  bk_crypto_sha256 (writer->buffer->data + start, BLOCK_DATA, hash);
  g_byte_array_append (writer->buffer, hash, sizeof hash);
  return writer->buffer->len < STRIDE * BLOCK || flush (writer, error);
}

gboolean
bk_index_run_writer_append (BkIndexRunWriter *writer, const BkIndexEntry *entry, GError **error)
{
  uint8_t row[ROW];
  uint64_t fence = GUINT64_TO_LE (entry->key[0]);
  if (writer->buffer->len % BLOCK == 0)
    g_array_append_val (writer->fences, fence);
  put_row (row, entry);
  g_byte_array_append (writer->buffer, row, sizeof row);
  g_array_index (writer->counts, uint32_t, entry->pack)++;
  writer->rows++;
  return writer->buffer->len % BLOCK != BLOCK_DATA || end_block (writer, error);
}

static void
append_packs (BkIndexRunWriter *writer)
{
  for (unsigned i = 0; i < writer->names->len; i++) {
    uint8_t pack[PACK] = { 0 };
    const char *name = writer->names->pdata[i];
    memcpy (pack, name, strlen (name));
    put_u32 (pack + PACK_NAME, g_array_index (writer->counts, uint32_t, i));
    g_byte_array_append (writer->buffer, pack, sizeof pack);
  }
}

gboolean
bk_index_run_writer_finish (BkIndexRunWriter *writer, GError **error)
{
  uint8_t tail[TAIL] = { 0 };
  if ((writer->buffer->len % BLOCK != 0 && !end_block (writer, error)) || !flush (writer, error))
    return FALSE;
  g_byte_array_append (writer->buffer, (const uint8_t *)writer->fences->data, writer->fences->len * (unsigned)sizeof (uint64_t));
  append_packs (writer);
  memcpy (tail, MAGIC, MAGIC_SIZE);
  put_u64 (tail + 8, writer->rows);
  put_u64 (tail + 16, writer->names->len);
  g_byte_array_append (writer->buffer, tail, TAIL - BK_HASH_SIZE);
  bk_crypto_sha256 (writer->buffer->data, writer->buffer->len, tail);
  g_byte_array_append (writer->buffer, tail, BK_HASH_SIZE);
  return flush (writer, error);
}
