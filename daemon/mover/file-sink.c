/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "file-sink.h"

#include "fsio.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a hole is made of, and sectors of devices. */
#define BLOCK 4096
/* Written at a time where there is no other way to have zeroes. */
#define ZEROES (1024 * 1024)
/* The kernel is told to write each time this much has come together, so that the fsync at the end has little left to wait for. */
#define WRITE_BEHIND (16 * 1024 * 1024)

typedef struct {
  BkSink sink;
  char *path;
  int fd;
  bool is_new;      /* ours to remove, until it is finished */
  bool no_holes;    /* atomic: the file system has none */
  bool interrupted; /* atomic */
  uint64_t behind;  /* atomic: bytes written since the kernel was told to write */
  bool is_device;
  GMutex one_writer; /* of a file */
} FileSink;

static bool
check_interrupted (FileSink *self, GError **error)
{
  if (!__atomic_load_n (&self->interrupted, __ATOMIC_RELAXED))
    return false;
  g_set_error_literal (error, BK_ERROR, BK_ERROR_CANCELLED, "cancelled");
  return true;
}

/* What is dirty anywhere in it: workers are not far from each other. */
static void
write_behind (FileSink *self, size_t length)
{
  if (__atomic_add_fetch (&self->behind, length, __ATOMIC_RELAXED) < WRITE_BEHIND)
    return;
  __atomic_store_n (&self->behind, 0, __ATOMIC_RELAXED);
  sync_file_range (self->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

/* File systems let one writer at a time into a file, and have the others burn their processors until it is their turn: they sleep
 * here instead, and somebody else reads meanwhile. */
static ssize_t
write_some (FileSink *self, const void *data, size_t length, uint64_t offset)
{
  if (self->is_device)
    return pwrite (self->fd, data, length, (off_t)offset);
  g_mutex_lock (&self->one_writer);
  ssize_t n = pwrite (self->fd, data, length, (off_t)offset);
  int errsv = errno;
  g_mutex_unlock (&self->one_writer);
  errno = errsv;
  return n;
}

static gboolean
write_range (BkSink *sink, unsigned worker G_GNUC_UNUSED, uint64_t offset, const void *data, size_t length, GError **error)
{
  FileSink *self = (FileSink *)sink;
  const uint8_t *next = data;
  while (length > 0) {
    if (check_interrupted (self, error))
      return FALSE;
    ssize_t n = write_some (self, next, length, offset);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return bk_error_set_errno (error, n < 0 ? errno : EIO, "cannot write %zu bytes at %" PRIu64 " of '%s'", length, offset, self->path);
    write_behind (self, (size_t)n);
    next += n;
    offset += (uint64_t)n;
    length -= (size_t)n;
  }
  return TRUE;
}

static gboolean
write_zeroes (BkSink *sink, unsigned worker, uint64_t offset, uint64_t length, GError **error)
{
  static const uint8_t zeroes[ZEROES];
  for (uint64_t end = offset + length, n = 0; offset < end; offset += n) {
    n = MIN (end - offset, sizeof zeroes);
    if (!write_range (sink, worker, offset, zeroes, (size_t)n, error))
      return FALSE;
  }
  return TRUE;
}

/* FALSE without an error: that does not go here. A device punches only what it then gives back as zeroes. */
static gboolean
punch (FileSink *self, uint64_t offset, uint64_t length)
{
  static const int modes[] = { FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE };
  for (size_t i = 0; i < G_N_ELEMENTS (modes); i++)
    if (fallocate (self->fd, modes[i], (off_t)offset, (off_t)length) == 0)
      return TRUE;
  if (errno == EOPNOTSUPP || errno == ENOSYS || errno == ENODEV)
    __atomic_store_n (&self->no_holes, true, __ATOMIC_RELAXED);
  return FALSE;
}

static gboolean
zero_range (BkSink *sink, unsigned worker, uint64_t offset, uint64_t length, GError **error)
{
  FileSink *self = (FileSink *)sink;
  if (length == 0 || (!__atomic_load_n (&self->no_holes, __ATOMIC_RELAXED) && punch (self, offset, length)))
    return TRUE;
  return write_zeroes (sink, worker, offset, length, error);
}

static gboolean
finish (BkSink *sink, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  FileSink *self = (FileSink *)sink;
  if (check_interrupted (self, error) || !bk_fsio_sync_fd (self->fd, self->path, error))
    return FALSE;
  self->is_new = false;
  return TRUE;
}

static void
interrupt_sink (BkSink *sink)
{
  __atomic_store_n (&((FileSink *)sink)->interrupted, true, __ATOMIC_RELAXED);
}

static void
free_sink (BkSink *sink)
{
  FileSink *self = (FileSink *)sink;
  if (self->fd >= 0)
    close (self->fd);
  if (self->is_new)
    unlink (self->path);
  g_mutex_clear (&self->one_writer);
  g_free (self->path);
  g_free (self);
}

static const BkSinkOps file_sink_ops = {
  .name = "file",
  .write = write_range,
  .zero = zero_range,
  .finish = finish,
  .interrupt = interrupt_sink,
  .free = free_sink,
};

static FileSink *
make (const char *path)
{
  FileSink *self = g_new0 (FileSink, 1);
  self->sink.ops = &file_sink_ops;
  self->sink.block = BLOCK;
  g_mutex_init (&self->one_writer);
  self->path = g_strdup (path);
  self->fd = -1;
  return self;
}

BkSink *
bk_file_sink_new (const char *path, uint64_t size, GError **error)
{
  FileSink *self = make (path);
  g_autoptr (BkSink) sink = &self->sink;
  sink->size = size;
  self->fd = open (path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (self->fd < 0 && errno == EEXIST) {
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "'%s' exists", path);
    return NULL;
  }
  if (self->fd < 0) {
    bk_error_set_errno (error, errno, "cannot make '%s'", path);
    return NULL;
  }
  self->is_new = true;
  if (flock (self->fd, LOCK_EX | LOCK_NB) < 0)
    g_debug ("'%s' cannot be locked: %s", path, g_strerror (errno)); /* not all file systems can */
  if (size > INT64_MAX || ftruncate (self->fd, (off_t)size) < 0) {
    bk_error_set_errno (error, size > INT64_MAX ? EFBIG : errno, "cannot make '%s' of %" PRIu64 " bytes", path, size);
    return NULL;
  }
  return g_steal_pointer (&sink);
}

/* The size of a file or block device; FALSE for anything else. */
static gboolean
find_size (FileSink *self, GError **error)
{
  struct stat st;
  if (fstat (self->fd, &st) < 0)
    return bk_error_set_errno (error, errno, "cannot look at '%s'", self->path);
  if (S_ISREG (st.st_mode)) {
    self->sink.size = (uint64_t)st.st_size;
    return TRUE;
  }
  if (!S_ISBLK (st.st_mode)) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s' is neither a file nor a block device", self->path);
    return FALSE;
  }
  self->is_device = true;
  if (ioctl (self->fd, BLKGETSIZE64, &self->sink.size) < 0)
    return bk_error_set_errno (error, errno, "cannot find the size of '%s'", self->path);
  return TRUE;
}

/* O_EXCL without O_CREAT is for block devices: nobody else has claimed it, a mounted file system for one. */
static int
open_existing (const char *path)
{
  struct stat st;
  int exclusive = stat (path, &st) == 0 && S_ISBLK (st.st_mode) ? O_EXCL : 0;
  return open (path, O_RDWR | O_CLOEXEC | O_NONBLOCK | exclusive);
}

BkSink *
bk_file_sink_open (const char *path, GError **error)
{
  FileSink *self = make (path);
  g_autoptr (BkSink) sink = &self->sink;
  sink->wants_zeroes = true;
  self->fd = open_existing (path);
  if (self->fd < 0 && errno == EBUSY) {
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "'%s' is in use", path);
    return NULL;
  }
  if (self->fd < 0) {
    bk_error_set_errno (error, errno, "cannot open '%s'", path);
    return NULL;
  }
  if (!find_size (self, error))
    return NULL;
  return g_steal_pointer (&sink);
}
