/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "extract.h"

#include "copy.h"
#include "file-sink.h"
#include "fsio.h"
#include "patient-extents.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- with salvage: the disk as a reader that puts zeroes where a chunk is damaged, and remembers where --- */

typedef struct {
  BkReader reader;
  BkReader *source;
  uint32_t piece; /* the unit that is given up */
  GMutex mutex;
  GArray *ranges; /* Range, in no order */
} Salvage;

typedef struct {
  uint64_t offset, length;
} Range;

static gboolean
salvage_open (BkReader *reader, unsigned workers, GCancellable *cancellable, GError **error)
{
  return bk_reader_open (((Salvage *)reader)->source, workers, cancellable, error);
}

static gboolean
salvage_extents (BkReader *reader, BkExtentFunc func, gpointer user_data, GCancellable *cancellable, GError **error)
{
  return bk_patient_extents (((Salvage *)reader)->source, func, user_data, cancellable, error);
}

static gboolean
read_piece (Salvage *self, unsigned worker, uint64_t offset, void *data, size_t length, GError **error)
{
  g_autoptr (GError) failure = NULL;
  if (bk_reader_read (self->source, worker, offset, data, length, &failure))
    return TRUE;
  if (!bk_patient_is_damage (failure)) {
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  memset (data, 0, length);
  Range range = { offset, length };
  g_mutex_lock (&self->mutex);
  g_array_append_val (self->ranges, range);
  g_mutex_unlock (&self->mutex);
  return TRUE;
}

static gboolean
salvage_read (BkReader *reader, unsigned worker, uint64_t offset, void *data, size_t length, GError **error)
{
  Salvage *self = (Salvage *)reader;
  for (size_t done = 0; done < length;) {
    size_t part = MIN (length - done, self->piece - (offset + done) % self->piece);
    if (!read_piece (self, worker, offset + done, (char *)data + done, part, error))
      return FALSE;
    done += part;
  }
  return TRUE;
}

static void
salvage_free (BkReader *reader)
{
  Salvage *self = (Salvage *)reader;
  bk_reader_free (self->source);
  g_array_unref (self->ranges);
  g_mutex_clear (&self->mutex);
  g_free (self);
}

static const BkReaderOps salvage_ops = {
  .name = "salvage",
  .open = salvage_open,
  .extents = salvage_extents,
  .read = salvage_read,
  .free = salvage_free,
};

static BkReader *
salvage_new (BkReader *source, uint32_t piece)
{
  Salvage *self = g_new0 (Salvage, 1);
  self->reader.ops = &salvage_ops;
  self->reader.size = source->size;
  self->source = source;
  self->piece = piece;
  self->ranges = g_array_new (FALSE, FALSE, sizeof (Range));
  g_mutex_init (&self->mutex);
  return &self->reader;
}

static int
compare_ranges (gconstpointer a, gconstpointer b)
{
  const Range *left = a, *right = b;
  return left->offset < right->offset ? -1 : left->offset > right->offset;
}

/* Neighbours are one line; *@damaged is their sum. */
static char *
list_ranges (Salvage *self, uint64_t *damaged)
{
  GString *text = g_string_new (NULL);
  g_array_sort (self->ranges, compare_ranges);
  for (unsigned i = 0; i < self->ranges->len;) {
    Range range = g_array_index (self->ranges, Range, i);
    for (i++; i < self->ranges->len && g_array_index (self->ranges, Range, i).offset == range.offset + range.length; i++)
      range.length += g_array_index (self->ranges, Range, i).length;
    g_string_append_printf (text, "%" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "\n", range.offset, range.length);
    *damaged += range.length;
  }
  return g_string_free (text, FALSE);
}

static gboolean
write_map (Salvage *self, const char *output, uint64_t *damaged, GError **error)
{
  g_autofree char *text = list_ranges (self, damaged);
  g_autofree char *path = g_strconcat (output, ".damaged", NULL);
  return *damaged > 0 ? bk_fsio_write_file (path, text, strlen (text), error) : bk_fsio_remove (path, error);
}

/* --- where to --- */

static gboolean
refuse_existing (const char *output, GError **error)
{
  g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "'%s' exists; choose another name, or replace it with --force", output);
  return FALSE;
}

static gboolean
check_output (const BkExtract *extract, bool *device, GError **error)
{
  struct stat st;
  *device = false;
  if (stat (extract->output, &st) < 0)
    return TRUE;
  *device = S_ISBLK (st.st_mode);
  if (!*device && !S_ISREG (st.st_mode)) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s' is neither a file nor a block device", extract->output);
    return FALSE;
  }
  return extract->force || refuse_existing (extract->output, error);
}

static gboolean
check_size (const BkSink *sink, const BkReader *reader, const char *output, GError **error)
{
  if (sink->size >= reader->size)
    return TRUE;
  g_autofree char *have = bk_size_format (sink->size);
  g_autofree char *want = bk_size_format (reader->size);
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s' has %s, and the disk needs %s", output, have, want);
  return FALSE;
}

static gboolean
copy_to_device (BkReader *reader, const char *output, GError **error)
{
  g_autoptr (BkSink) sink = bk_file_sink_open (output, error);
  if (sink == NULL || !check_size (sink, reader, output, error))
    return FALSE;
  g_autoptr (BkCopy) copy = bk_copy_new (reader, sink, NULL);
  return bk_copy_run (copy, NULL, error);
}

/* What stands where the file is to grow. It is ours if it looks like one that an extract of this disk has made, and is in
 * nobody's hands: see bk_file_sink_new(). */
static const char *
why_not_ours (int fd, uint64_t size)
{
  struct stat st;
  if (fd < 0)
    return "is in the way";
  if (fstat (fd, &st) < 0 || !S_ISREG (st.st_mode) || st.st_uid != geteuid () || (uint64_t)st.st_size != size)
    return "is not what an extract of this disk leaves";
  return flock (fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK ? "is being written by another program" : NULL;
}

static gboolean
remove_remains (const char *temporary, uint64_t size, GError **error)
{
  int fd = open (temporary, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT)
    return TRUE;
  const char *why = why_not_ours (fd, size);
  gboolean removed = why == NULL && unlink (temporary) == 0;
  if (why)
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "'%s' %s; choose another name, or remove it", temporary, why);
  else if (!removed)
    bk_error_set_errno (error, errno, "cannot remove '%s'", temporary);
  else
    fprintf (stderr, "backup-rescue: removed '%s', which an extract that did not end had left\n", temporary);
  if (fd >= 0)
    close (fd);
  return removed;
}

static gboolean
copy_to_new_file (BkReader *reader, const BkExtract *extract, GError **error)
{
  g_autofree char *temporary = g_strconcat (extract->output, ".part", NULL);
  if (!remove_remains (temporary, reader->size, error))
    return FALSE;
  g_autoptr (BkSink) sink = bk_file_sink_new (temporary, reader->size, error);
  if (sink == NULL)
    return FALSE;
  g_autoptr (BkCopy) copy = bk_copy_new (reader, sink, NULL);
  if (!bk_copy_run (copy, NULL, error))
    return FALSE;
  if (bk_fsio_rename (temporary, extract->output, extract->force, error))
    return TRUE;
  unlink (temporary);
  return FALSE;
}

gboolean
bk_extract_run (BkRepository *repository, const BkExtract *extract, uint64_t *damaged, GError **error)
{
  bool device = false;
  *damaged = 0;
  if (!check_output (extract, &device, error))
    return FALSE;
  BkRepositoryDisk disk = { 0 };
  if (!bk_repository_read_disk (repository, extract->vm, extract->backup, extract->disk, &disk, error))
    return FALSE;
  BkReader *source = bk_repository_open_disk (repository, extract->vm, extract->backup, extract->disk, NULL, error);
  if (source == NULL)
    return FALSE;
  g_autoptr (BkReader) reader = extract->salvage ? salvage_new (source, disk.chunk_size) : source;
  if (!(device ? copy_to_device (reader, extract->output, error) : copy_to_new_file (reader, extract, error)))
    return FALSE;
  return !extract->salvage || write_map ((Salvage *)reader, extract->output, damaged, error);
}
