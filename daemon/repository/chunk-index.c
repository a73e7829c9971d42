/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "chunk-index.h"

#include "fsio.h"
#include "index-run.h"
#include "index-table.h"
#include "ulid.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SUFFIX ".run"
#define RECENT (128u * 1024) /* entries in memory, from which on they go to a file */
#define FAN_IN 4u            /* files of like size that are merged */

struct BkChunkIndex {
  char *folder; /* NULL: unnamed files */
  bool writable;
  BkIndexPacks packs;
  BkIndexTable *recent;
  GPtrArray *runs; /* BkIndexRun, oldest first */
  bool marking, damaged, merging;
};

/* --- files --- */

typedef struct {
  int fd;
  char *path, *temporary; /* temporary NULL: the file has no name */
} NewFile;

static void
new_file_clear (NewFile *file)
{
  if (file->fd >= 0)
    close (file->fd);
  if (file->temporary && !bk_fsio_remove (file->temporary, NULL))
    g_debug ("'%s' is left", file->temporary);
  g_free (file->path);
  g_free (file->temporary);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (NewFile, new_file_clear)

static gboolean
new_file_open (NewFile *file, const char *folder, GError **error)
{
  g_autofree char *ulid = bk_ulid_new ();
  if (folder == NULL) {
    file->path = g_strdup_printf ("index %s", ulid);
    return (file->fd = bk_fsio_open_scratch (g_get_tmp_dir (), 0, error)) >= 0;
  }
  g_autofree char *temporary = g_strdup_printf ("%s/.%s.tmp", folder, ulid);
  if (!bk_fsio_create_file (temporary, error))
    return FALSE;
  file->path = g_strdup_printf ("%s/%s" SUFFIX, folder, ulid);
  file->temporary = g_steal_pointer (&temporary);
  file->fd = open (file->temporary, O_RDWR | O_CLOEXEC);
  return file->fd >= 0 || bk_error_set_errno (error, errno, "cannot open '%s'", file->temporary);
}

/* Nothing is synced: what a crash of the machine spoils is found by its checksums, and made anew. */
static BkIndexRun *
new_file_publish (NewFile *file, GError **error)
{
  if (file->temporary && rename (file->temporary, file->path) < 0) {
    bk_error_set_errno (error, errno, "cannot rename '%s'", file->temporary);
    return NULL;
  }
  g_clear_pointer (&file->temporary, g_free);
  return bk_index_run_open (g_steal_fd (&file->fd), file->path, error);
}

static void
remove_run_file (BkChunkIndex *index, const char *path)
{
  g_autoptr (GError) error = NULL;
  if (index->folder && index->writable && !bk_fsio_remove (path, &error))
    g_warning ("%s", error->message);
}

/* --- opening --- */

static int
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp (*(const char *const *)a, *(const char *const *)b);
}

/* Those of files that are there now; half-made ones of a crash are removed. */
static GPtrArray *
list_files (BkChunkIndex *index)
{
  const char *name;
  g_autoptr (GDir) folder = g_dir_open (index->folder, 0, NULL);
  GPtrArray *names = g_ptr_array_new_with_free_func (g_free);
  while (folder && (name = g_dir_read_name (folder)) != NULL) {
    g_autofree char *path = g_build_filename (index->folder, name, NULL);
    if (name[0] == '.')
      remove_run_file (index, path);
    else if (g_str_has_suffix (name, SUFFIX))
      g_ptr_array_add (names, g_steal_pointer (&path));
  }
  g_ptr_array_sort (names, compare_names);
  return names;
}

static void
bind_packs (BkChunkIndex *index, BkIndexRun *run)
{
  for (unsigned i = 0; i < bk_index_run_packs (run); i++)
    bk_index_run_set_pack (run, i, index->packs.number (bk_index_run_pack_name (run, i), index->packs.user_data));
}

static void
open_run (BkChunkIndex *index, const char *path)
{
  g_autoptr (GError) error = NULL;
  int fd = open (path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    g_debug ("'%s': %s", path, g_strerror (errno)); /* merged by the process that writes, just now */
    return;
  }
  BkIndexRun *run = bk_index_run_open (fd, path, &error);
  if (run == NULL) {
    g_info ("%s; it is made anew from the packs", error->message);
    remove_run_file (index, path);
    return;
  }
  bind_packs (index, run);
  g_ptr_array_add (index->runs, run);
}

BkChunkIndex *
bk_chunk_index_open (const char *folder, bool writable, const BkIndexPacks *packs)
{
  g_autoptr (GError) error = NULL;
  BkChunkIndex *index = g_new0 (BkChunkIndex, 1);
  index->folder = g_strdup (folder);
  index->writable = writable;
  index->packs = *packs;
  index->recent = bk_index_table_new ();
  index->runs = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_index_run_unref);
  if (writable && !bk_fsio_make_folder (folder, &error))
    g_warning ("%s", error->message);
  g_autoptr (GPtrArray) files = list_files (index);
  for (unsigned i = 0; i < files->len; i++)
    open_run (index, files->pdata[i]);
  if (!writable)
    g_clear_pointer (&index->folder, g_free);
  return index;
}

void
bk_chunk_index_foreach_pack (BkChunkIndex *index, BkIndexPackFunc func, gpointer user_data)
{
  for (unsigned i = 0; i < index->runs->len; i++)
    for (unsigned p = 0; p < bk_index_run_packs (index->runs->pdata[i]); p++)
      func (bk_index_run_get_pack (index->runs->pdata[i], p), user_data);
}

void
bk_chunk_index_reset (BkChunkIndex *index)
{
  for (unsigned i = 0; i < index->runs->len; i++)
    remove_run_file (index, bk_index_run_path (index->runs->pdata[i]));
  g_ptr_array_set_size (index->runs, 0);
  bk_index_table_clear (index->recent);
  index->damaged = false;
}

/* --- from memory to a file --- */

/* Entries of packs that have gone are left out, others said by the writer's number of their pack. */
static gboolean
append_entry (BkChunkIndex *index, BkIndexRunWriter *writer, const BkIndexEntry *entry, GError **error)
{
  BkIndexEntry copy = *entry;
  copy.pack = bk_index_run_writer_add_pack (writer, index->packs.name (entry->pack, index->packs.user_data));
  return bk_index_run_writer_append (writer, &copy, error);
}

static void
drop_gone (BkChunkIndex *index, GArray *entries)
{
  unsigned kept = 0;
  for (unsigned i = 0; i < entries->len; i++) {
    const BkIndexEntry *entry = &g_array_index (entries, BkIndexEntry, i);
    if (!index->packs.gone (entry->pack, index->packs.user_data))
      g_array_index (entries, BkIndexEntry, kept++) = *entry;
  }
  g_array_set_size (entries, kept);
}

static BkIndexRun *
write_run (BkChunkIndex *index, GArray *entries, GError **error)
{
  g_auto (NewFile) file = { .fd = -1 };
  if (!new_file_open (&file, index->folder, error))
    return NULL;
  g_autoptr (BkIndexRunWriter) writer = bk_index_run_writer_new (file.fd, file.path);
  for (unsigned i = 0; i < entries->len; i++)
    if (!append_entry (index, writer, &g_array_index (entries, BkIndexEntry, i), error))
      return NULL;
  return bk_index_run_writer_finish (writer, error) ? new_file_publish (&file, error) : NULL;
}

static void
take_marks (BkChunkIndex *index, BkIndexRun *run, GArray *entries)
{
  if (!index->marking)
    return;
  bk_index_run_begin_marks (run);
  for (unsigned i = 0; i < entries->len; i++)
    if (g_array_index (entries, BkIndexEntry, i).mark)
      bk_index_run_set_mark (run, i);
}

/* What is in memory stays there when it cannot be written. */
static void
flush (BkChunkIndex *index)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GArray) entries = bk_index_table_sort (index->recent);
  drop_gone (index, entries);
  BkIndexRun *run = entries->len ? write_run (index, entries, &error) : NULL;
  if (error) {
    g_warning ("the index of the chunks stays in memory: %s", error->message);
    return;
  }
  bk_index_table_clear (index->recent);
  if (run == NULL)
    return;
  bind_packs (index, run);
  take_marks (index, run, entries);
  g_ptr_array_add (index->runs, run);
}

void
bk_chunk_index_put (BkChunkIndex *index, const BkChunkId *id, uint32_t pack, uint64_t offset, uint32_t stored, uint32_t length)
{
  BkIndexEntry entry = { .offset = offset, .stored = stored, .pack = pack, .length = length };
  bk_index_key (id, entry.key);
  bk_index_table_put (index->recent, &entry);
}

void
bk_chunk_index_settle (BkChunkIndex *index)
{
  if (bk_index_table_size (index->recent) >= RECENT)
    flush (index);
}

void
bk_chunk_index_free (BkChunkIndex *index)
{
  if (index->writable && bk_index_table_size (index->recent) > 0)
    flush (index);
  bk_index_table_free (index->recent);
  g_ptr_array_unref (index->runs);
  g_free (index->folder);
  g_free (index);
}

/* --- finding --- */

/* One copy, and where its mark is. */
typedef struct {
  BkIndexEntry entry;
  BkIndexEntry *slot; /* in memory; or */
  BkIndexRun *run;
  uint64_t row;
} Place;

typedef bool (*Wanted) (BkChunkIndex *index, const BkIndexEntry *entry, const Place *like);

static bool
is_usable (BkChunkIndex *index, const BkIndexEntry *entry, const Place *like G_GNUC_UNUSED)
{
  return index->packs.usable (entry, index->packs.user_data);
}

static bool
is_at_same_place (BkChunkIndex *index G_GNUC_UNUSED, const BkIndexEntry *entry, const Place *like)
{
  return entry->pack == like->entry.pack && entry->offset == like->entry.offset;
}

static bool
find_recent (BkChunkIndex *index, const uint64_t key[2], Wanted wanted, Place *place)
{
  BkIndexEntry *slot = NULL;
  while ((slot = bk_index_table_next (index->recent, key, slot)) != NULL)
    if (wanted (index, slot, place)) {
      *place = (Place){ .entry = *slot, .slot = slot };
      return true;
    }
  return false;
}

static bool
find_in_run (BkChunkIndex *index, BkIndexRun *run, const uint64_t key[2], Wanted wanted, Place *place)
{
  g_autoptr (GError) error = NULL;
  BkIndexEntry entry;
  uint64_t row = 0;
  gboolean ok = bk_index_run_seek (run, key, &row, &error);
  for (; ok && row < bk_index_run_rows (run); row++) {
    if (!(ok = bk_index_run_read (run, row, &entry, &error)) || bk_index_key_compare (entry.key, key) != 0)
      break;
    if (!wanted (index, &entry, place))
      continue;
    *place = (Place){ .entry = entry, .run = run, .row = row };
    return true;
  }
  if (!ok && !index->damaged)
    g_warning ("%s; it is made anew from the packs", error->message);
  index->damaged |= !ok;
  return false;
}

static bool
find_place (BkChunkIndex *index, const BkChunkId *id, Wanted wanted, Place *place)
{
  uint64_t key[2];
  bk_index_key (id, key);
  if (find_recent (index, key, wanted, place))
    return true;
  for (unsigned i = index->runs->len; i > 0; i--)
    if (find_in_run (index, index->runs->pdata[i - 1], key, wanted, place))
      return true;
  return false;
}

bool
bk_chunk_index_find (BkChunkIndex *index, const BkChunkId *id, BkIndexEntry *entry)
{
  Place place = { 0 };
  if (!find_place (index, id, is_usable, &place))
    return false;
  *entry = place.entry;
  return true;
}

bool
bk_chunk_index_is_damaged (BkChunkIndex *index)
{
  return index->damaged;
}

bool
bk_chunk_index_has (BkChunkIndex *index, const BkChunkId *id, uint32_t pack, uint64_t offset)
{
  Place place = { .entry = { .pack = pack, .offset = offset } };
  return find_place (index, id, is_at_same_place, &place);
}

void
bk_chunk_index_distrust (BkChunkIndex *index)
{
  index->damaged = true;
}

uint64_t
bk_chunk_index_size (BkChunkIndex *index)
{
  uint64_t size = bk_index_table_size (index->recent);
  for (unsigned i = 0; i < index->runs->len; i++)
    size += bk_index_run_rows (index->runs->pdata[i]);
  return size;
}

/* --- marks --- */

void
bk_chunk_index_begin_marks (BkChunkIndex *index)
{
  index->marking = true;
  bk_index_table_clear_marks (index->recent);
  for (unsigned i = 0; i < index->runs->len; i++)
    bk_index_run_begin_marks (index->runs->pdata[i]);
}

void
bk_chunk_index_end_marks (BkChunkIndex *index)
{
  index->marking = false;
  for (unsigned i = 0; i < index->runs->len; i++)
    bk_index_run_end_marks (index->runs->pdata[i]);
}

static bool
get_mark (const Place *place)
{
  return place->slot ? place->slot->mark : bk_index_run_get_mark (place->run, place->row);
}

bool
bk_chunk_index_mark (BkChunkIndex *index, const BkChunkId *id, BkIndexEntry *entry, bool *was)
{
  Place place = { 0 };
  if (!find_place (index, id, is_usable, &place))
    return false;
  *entry = place.entry;
  *was = get_mark (&place);
  if (place.slot)
    place.slot->mark = 1;
  else
    bk_index_run_set_mark (place.run, place.row);
  return true;
}

bool
bk_chunk_index_is_marked (BkChunkIndex *index, const BkChunkId *id, uint32_t pack, uint64_t offset)
{
  Place place = { .entry = { .pack = pack, .offset = offset } };
  return find_place (index, id, is_at_same_place, &place) && get_mark (&place);
}

/* --- merging --- */

struct BkIndexMerge {
  char *folder;
  GPtrArray *runs;  /* of the index, oldest first */
  GHashTable *gone; /* set of names of packs */
  BkIndexRun *result;
  GError *error;
};

/* Files of 4^n times the first size are of one class. */
static unsigned
class_of (BkIndexRun *run)
{
  unsigned class = 0;
  for (uint64_t rows = bk_index_run_rows (run) / RECENT; rows >= FAN_IN; rows /= FAN_IN)
    class ++;
  return class;
}

static uint64_t
count_gone_rows (BkChunkIndex *index, BkIndexRun *run)
{
  uint64_t rows = 0;
  for (unsigned i = 0; i < bk_index_run_packs (run); i++)
    if (index->packs.gone (bk_index_run_get_pack (run, i), index->packs.user_data))
      rows += bk_index_run_pack_rows (run, i);
  return rows;
}

/* How many of the youngest files are to become one: those that are of a class with three others at least and what is younger
 * than these, or all from the oldest on that is mostly about packs that have gone. */
static unsigned
count_to_merge (BkChunkIndex *index)
{
  unsigned alike = 0, count = 0, last = G_MAXUINT;
  for (unsigned i = index->runs->len; i > 0; i--) {
    unsigned class = class_of (index->runs->pdata[i - 1]);
    alike = class == last ? alike + 1 : 1;
    last = class;
    if (alike >= FAN_IN || count_gone_rows (index, index->runs->pdata[i - 1]) * 2 > bk_index_run_rows (index->runs->pdata[i - 1]))
      count = index->runs->len - i + 1;
  }
  return count;
}

static void
note_gone (BkChunkIndex *index, BkIndexMerge *merge, BkIndexRun *run)
{
  for (unsigned i = 0; i < bk_index_run_packs (run); i++)
    if (index->packs.gone (bk_index_run_get_pack (run, i), index->packs.user_data))
      g_hash_table_add (merge->gone, g_strdup (bk_index_run_pack_name (run, i)));
}

BkIndexMerge *
bk_chunk_index_begin_merge (BkChunkIndex *index)
{
  unsigned count = index->merging || index->marking ? 0 : count_to_merge (index);
  if (count == 0)
    return NULL;
  BkIndexMerge *merge = g_new0 (BkIndexMerge, 1);
  merge->folder = g_strdup (index->folder);
  merge->runs = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_index_run_unref);
  merge->gone = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  for (unsigned i = index->runs->len - count; i < index->runs->len; i++) {
    g_ptr_array_add (merge->runs, bk_index_run_ref (index->runs->pdata[i]));
    note_gone (index, merge, index->runs->pdata[i]);
  }
  index->merging = true;
  return merge;
}

/* One file in the merge. */
typedef struct {
  BkIndexCursor *cursor;
  const BkIndexEntry *entry; /* the next; NULL: at its end */
  uint32_t *packs;           /* its own numbers to those of the result; UINT32_MAX: gone */
} Source;

static void
sources_free (GArray *sources)
{
  for (unsigned i = 0; i < sources->len; i++) {
    const Source *source = &g_array_index (sources, Source, i);
    bk_index_cursor_free (source->cursor);
    g_free (source->packs);
  }
  g_array_unref (sources);
}

/* A pack that has nothing here is named all the same: its entries are all here. */
static uint32_t *
map_packs (BkIndexMerge *merge, BkIndexRun *run, BkIndexRunWriter *writer)
{
  uint32_t *packs = g_new (uint32_t, bk_index_run_packs (run) + 1);
  for (unsigned i = 0; i < bk_index_run_packs (run); i++) {
    const char *name = bk_index_run_pack_name (run, i);
    packs[i] = g_hash_table_contains (merge->gone, name) ? G_MAXUINT32 : bk_index_run_writer_add_pack (writer, name);
  }
  return packs;
}

/* Youngest first, so that the youngest copy of a chunk comes first. */
static gboolean
open_sources (BkIndexMerge *merge, BkIndexRunWriter *writer, GArray *sources, GError **error)
{
  for (unsigned i = merge->runs->len; i > 0; i--) {
    BkIndexRun *run = merge->runs->pdata[i - 1];
    Source source = { bk_index_cursor_new (run), NULL, map_packs (merge, run, writer) };
    g_array_append_val (sources, source);
    if (!bk_index_cursor_next (source.cursor, &g_array_index (sources, Source, sources->len - 1).entry, error))
      return FALSE;
  }
  return TRUE;
}

static Source *
first_source (GArray *sources)
{
  Source *first = NULL;
  for (unsigned i = 0; i < sources->len; i++) {
    Source *source = &g_array_index (sources, Source, i);
    if (source->entry && (first == NULL || bk_index_key_compare (source->entry->key, first->entry->key) < 0))
      first = source;
  }
  return first;
}

static gboolean
merge_sources (GArray *sources, BkIndexRunWriter *writer, GError **error)
{
  BkIndexEntry last = { 0 };
  for (Source *source; (source = first_source (sources)) != NULL;) {
    BkIndexEntry entry = *source->entry;
    entry.pack = source->packs[entry.pack];
    /* After a crash at the end of a merge, what it merged is there still. */
    bool is_repeated = last.length && bk_index_entry_compare (&last, &entry) == 0 && last.pack == entry.pack && last.offset == entry.offset;
    if (entry.pack != G_MAXUINT32 && !is_repeated) {
      if (!bk_index_run_writer_append (writer, &entry, error))
        return FALSE;
      last = entry;
    }
    if (!bk_index_cursor_next (source->cursor, &source->entry, error))
      return FALSE;
  }
  return TRUE;
}

void
bk_index_merge_run (BkIndexMerge *merge)
{
  g_auto (NewFile) file = { .fd = -1 };
  if (!new_file_open (&file, merge->folder, &merge->error))
    return;
  g_autoptr (BkIndexRunWriter) writer = bk_index_run_writer_new (file.fd, file.path);
  GArray *sources = g_array_new (FALSE, FALSE, sizeof (Source));
  if (open_sources (merge, writer, sources, &merge->error) && merge_sources (sources, writer, &merge->error) &&
      bk_index_run_writer_finish (writer, &merge->error))
    merge->result = new_file_publish (&file, &merge->error);
  sources_free (sources);
}

static bool
is_still_wanted (BkChunkIndex *index, const BkIndexMerge *merge)
{
  unsigned at = 0;
  while (at < index->runs->len && index->runs->pdata[at] != merge->runs->pdata[0])
    at++;
  return merge->result && !index->marking && at < index->runs->len;
}

/* The runs of the merge are neighbours; younger ones may have come behind them. */
static void
replace_runs (BkChunkIndex *index, BkIndexMerge *merge)
{
  unsigned at = 0;
  while (index->runs->pdata[at] != merge->runs->pdata[0])
    at++;
  for (unsigned i = 0; i < merge->runs->len; i++)
    remove_run_file (index, bk_index_run_path (merge->runs->pdata[i]));
  g_ptr_array_remove_range (index->runs, at, merge->runs->len);
  bind_packs (index, merge->result);
  g_ptr_array_insert (index->runs, (int)at, g_steal_pointer (&merge->result));
}

void
bk_chunk_index_end_merge (BkChunkIndex *index, BkIndexMerge *merge)
{
  index->merging = false;
  index->damaged |= g_error_matches (merge->error, BK_ERROR, BK_ERROR_CORRUPT);
  if (merge->error)
    g_info ("the files of the index are not merged: %s", merge->error->message);
  if (is_still_wanted (index, merge))
    replace_runs (index, merge);
  else if (merge->result)
    remove_run_file (index, bk_index_run_path (merge->result));
  g_clear_pointer (&merge->result, bk_index_run_unref);
  g_clear_error (&merge->error);
  g_ptr_array_unref (merge->runs);
  g_hash_table_unref (merge->gone);
  g_free (merge->folder);
  g_free (merge);
}
