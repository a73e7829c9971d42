/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "file-reader.h"

#include "extent-walk.h"
#include "nbd-connection.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
  BkReader reader;
  char *path;
  int fd;
  bool no_holes;
  bool interrupted; /* atomic */
  BkNbdInterrupt *interrupt;
  BkNbdConnection *dirty; /* NULL = all is dirty */
  char *dirty_context;
} FileReader;

/* --- extents --- */

/* lseek() moves the descriptor's position, which reads by pread() do not have. */
static gboolean
look_at (gpointer reader, uint64_t offset, uint64_t end, bool *zero, uint64_t *length, GError **error)
{
  FileReader *self = reader;
  *zero = false;
  *length = end - offset;
  if (self->no_holes)
    return TRUE;
  off_t next = lseek (self->fd, (off_t)offset, SEEK_DATA);
  if (next < 0 && errno == EINVAL) { /* this kind of file has no holes */
    self->no_holes = true;
    return TRUE;
  }
  if (next < 0 && errno != ENXIO)
    return bk_error_set_errno (error, errno, "cannot look for holes at %" PRIu64 " of '%s'", offset, self->path);
  *zero = next < 0 || (uint64_t)next > offset; /* ENXIO: a hole up to the end */
  if (!*zero)
    next = lseek (self->fd, (off_t)offset, SEEK_HOLE);
  if (next > (off_t)offset)
    *length = MIN ((uint64_t)next, end) - offset;
  return TRUE;
}

static gboolean
walk_extents (BkReader *reader, BkExtentFunc func, gpointer user_data, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  FileReader *self = (FileReader *)reader;
  g_autoptr (BkNbdStatus) dirty = self->dirty ? bk_nbd_status_new (self->dirty, 0, self->dirty_context) : NULL;
  BkExtentWalk walk = { .size = reader->size, .dirty = dirty, .allocation = look_at, .user_data = self };
  return bk_extent_walk_run (&walk, func, user_data, error);
}

/* --- reading --- */

static gboolean
read_range (BkReader *reader, unsigned worker G_GNUC_UNUSED, uint64_t offset, void *data, size_t length, GError **error)
{
  FileReader *self = (FileReader *)reader;
  for (uint8_t *next = data; length > 0;) {
    if (__atomic_load_n (&self->interrupted, __ATOMIC_RELAXED)) {
      g_set_error_literal (error, BK_ERROR, BK_ERROR_CANCELLED, "cancelled");
      return FALSE;
    }
    ssize_t n = pread (self->fd, next, length, (off_t)offset);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return bk_error_set_errno (error, errno, "cannot read %zu bytes at %" PRIu64 " of '%s'", length, offset, self->path);
    if (n == 0) {
      g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "'%s' ends at %" PRIu64 ", and had %" PRIu64 " bytes before", self->path, offset, reader->size);
      return FALSE;
    }
    next += n;
    offset += (uint64_t)n;
    length -= (size_t)n;
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
  bk_nbd_connection_free (self->dirty);
  bk_nbd_interrupt_free (self->interrupt);
  if (self->fd >= 0)
    close (self->fd);
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
open_file (FileReader *self, GError **error)
{
  struct stat st;
  self->fd = open (self->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (self->fd < 0 || fstat (self->fd, &st) < 0)
    return bk_error_set_errno (error, errno, "cannot open '%s'", self->path);
  if (S_ISREG (st.st_mode)) {
    self->reader.size = (uint64_t)st.st_size;
    return TRUE;
  }
  if (!S_ISBLK (st.st_mode)) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s' is neither a file nor a block device", self->path);
    return FALSE;
  }
  if (ioctl (self->fd, BLKGETSIZE64, &self->reader.size) < 0)
    return bk_error_set_errno (error, errno, "cannot find the size of '%s'", self->path);
  return TRUE;
}

static gboolean
connect_dirty (FileReader *self, const BkNbdAddress *address, GCancellable *cancellable, GError **error)
{
  const char *contexts[] = { self->dirty_context, NULL };
  self->dirty = bk_nbd_connection_new (address, contexts, self->interrupt, cancellable, error);
  if (self->dirty == NULL)
    return FALSE;
  uint64_t size = bk_nbd_connection_size (self->dirty);
  if (!bk_nbd_connection_has_context (self->dirty, self->dirty_context))
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "the NBD export has no list of changes '%s'", self->dirty_context);
  else if (size != self->reader.size)
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "the list of changes is for %" PRIu64 " bytes, the disk has %" PRIu64, size, self->reader.size);
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
  self->fd = -1;
  self->no_holes = options->no_holes;
  self->interrupt = bk_nbd_interrupt_new ();
  self->dirty_context = g_strdup (options->dirty_context);
  g_assert (options->dirty_address == NULL || options->dirty_context);
  if (!open_file (self, error) || (options->dirty_address && !connect_dirty (self, options->dirty_address, cancellable, error)))
    return NULL;
  return g_steal_pointer (&reader);
}
