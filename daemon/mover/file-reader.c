/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "file-reader.h"

#include "extent-walk.h"
#include "fsio.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
  BkReader reader;
  char *path;
  int fd;
  bool no_holes;
  BkNbdInterrupt *interrupt;
  BkNbdConnection *dirty; /* or NULL */
  char *dirty_context;
  bool interrupted; /* atomic */
} FileReader;

/* --- extents --- */

/* A BkAllocationFunc. A file system that knows nothing of holes tells one hole, at the end. */
static gboolean
find_hole (gpointer user_data, uint64_t offset, uint64_t end, bool *zero, uint64_t *length, GError **error)
{
  FileReader *self = user_data;
  off_t data = lseek (self->fd, (off_t)offset, SEEK_DATA);
  *zero = false;
  *length = end - offset;
  if (data < 0 && errno == ENXIO) { /* none up to the end */
    *zero = true;
    return TRUE;
  }
  if (data < 0 && (errno == EINVAL || errno == EOPNOTSUPP))
    return TRUE;
  if (data < 0)
    return bk_error_set_errno (error, errno, "cannot look for holes in '%s'", self->path);
  *zero = (uint64_t)data > offset;
  off_t next = *zero ? data : lseek (self->fd, (off_t)offset, SEEK_HOLE);
  if (next > (off_t)offset)
    *length = MIN (end, (uint64_t)next) - offset;
  return TRUE;
}

static gboolean
walk_extents (BkReader *reader, BkExtentFunc func, gpointer user_data, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  FileReader *self = (FileReader *)reader;
  g_autoptr (BkNbdStatus) dirty = self->dirty ? bk_nbd_status_new (self->dirty, 0, self->dirty_context) : NULL;
  BkExtentWalk walk = { .size = reader->size, .dirty = dirty, .allocation = self->no_holes ? NULL : find_hole, .user_data = self };
  return bk_extent_walk_run (&walk, func, user_data, error);
}

/* --- reading --- */

static gboolean
read_range (BkReader *reader, unsigned worker G_GNUC_UNUSED, uint64_t offset, void *data, size_t length, GError **error)
{
  FileReader *self = (FileReader *)reader;
  for (size_t done = 0; done < length;) {
    if (__atomic_load_n (&self->interrupted, __ATOMIC_RELAXED)) {
      g_set_error_literal (error, BK_ERROR, BK_ERROR_CANCELLED, "cancelled");
      return FALSE;
    }
    ssize_t n = pread (self->fd, (char *)data + done, length - done, (off_t)(offset + done));
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return bk_error_set_errno (error, n < 0 ? errno : EIO, "cannot read at %" G_GUINT64_FORMAT " of '%s'", offset + done, self->path);
    done += (size_t)n;
  }
  return TRUE;
}

static void
interrupt_reader (BkReader *reader)
{
  FileReader *self = (FileReader *)reader;
  __atomic_store_n (&self->interrupted, true, __ATOMIC_RELAXED);
  bk_nbd_interrupt_raise (self->interrupt);
}

static void
free_reader (BkReader *reader)
{
  FileReader *self = (FileReader *)reader;
  if (self->fd >= 0)
    close (self->fd);
  bk_nbd_connection_free (self->dirty);
  bk_nbd_interrupt_free (self->interrupt);
  g_free (self->dirty_context);
  g_free (self->path);
  g_free (self);
}

static const BkReaderOps file_reader_ops = {
  .name = "file",
  .extents = walk_extents,
  .read = read_range,
  .interrupt = interrupt_reader,
  .free = free_reader,
};

/* --- opening --- */

static gboolean
find_size (FileReader *self, GError **error)
{
  struct stat st;
  if (fstat (self->fd, &st) < 0)
    return bk_error_set_errno (error, errno, "cannot look at '%s'", self->path);
  self->reader.size = (uint64_t)st.st_size;
  if (S_ISREG (st.st_mode) || (S_ISBLK (st.st_mode) && ioctl (self->fd, BLKGETSIZE64, &self->reader.size) == 0))
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "'%s' is neither a file nor a block device", self->path);
  return FALSE;
}

static gboolean
connect_dirty (FileReader *self, const BkFileReaderOptions *options, GCancellable *cancellable, GError **error)
{
  const char *contexts[] = { options->dirty_context, NULL };
  if (options->dirty_address == NULL)
    return TRUE;
  self->dirty_context = g_strdup (options->dirty_context);
  self->dirty = bk_nbd_connection_new (options->dirty_address, contexts, self->interrupt, cancellable, error);
  if (self->dirty == NULL)
    return FALSE;
  if (!bk_nbd_connection_has_context (self->dirty, self->dirty_context))
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "the NBD export has no list of changes '%s'", self->dirty_context);
  else if (bk_nbd_connection_size (self->dirty) != self->reader.size)
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "the list of changes is for another size than that of '%s'", self->path);
  else
    return TRUE;
  return FALSE;
}

BkReader *
bk_file_reader_new (const char *path, const BkFileReaderOptions *options, GCancellable *cancellable, GError **error)
{
  static const BkFileReaderOptions none;
  FileReader *self = g_new0 (FileReader, 1);
  g_autoptr (BkReader) reader = &self->reader;
  options = options ? options : &none;
  reader->ops = &file_reader_ops;
  reader->max_request = options->max_request;
  self->path = g_strdup (path);
  self->no_holes = options->no_holes;
  self->interrupt = bk_nbd_interrupt_new ();
  self->fd = open (path, O_RDONLY | O_CLOEXEC);
  if (self->fd < 0) {
    bk_error_set_errno (error, errno, "cannot open '%s'", path);
    return NULL;
  }
  return find_size (self, error) && connect_dirty (self, options, cancellable, error) ? g_steal_pointer (&reader) : NULL;
}
