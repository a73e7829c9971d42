/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsio.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define CRASH (-1) /* as errsv: SIGKILL */

static int counted;    /* operations so far, atomic */
static int fail_at;    /* the one that fails, 0 = none */
static int fail_errno; /* its errno, or CRASH */

static int
positive_number (const char *text)
{
  guint64 number = 0;
  return text != NULL && g_ascii_string_to_unsigned (text, 10, 1, G_MAXINT, &number, NULL) ? (int)number : 0;
}

static void
read_environment (void)
{
  static gsize done;
  if (!g_once_init_enter (&done))
    return;
  int crash_at = positive_number (g_getenv ("BACKUPD_CRASH_IO"));
  fail_at = crash_at > 0 ? crash_at : positive_number (g_getenv ("BACKUPD_FAIL_IO"));
  fail_errno = crash_at > 0 ? CRASH : EIO;
  g_once_init_leave (&done, 1);
}

/* Each system call that changes or reads storage asks here first. TRUE: do not do it, errno is set. */
static bool
fault (void)
{
  read_environment ();
  int number = g_atomic_int_add (&counted, 1) + 1;
  if (number != g_atomic_int_get (&fail_at))
    return false;
  if (g_atomic_int_get (&fail_errno) == CRASH)
    kill (getpid (), SIGKILL);
  errno = g_atomic_int_get (&fail_errno);
  return true;
}

void
bk_fsio_fail_at (unsigned n, int errsv)
{
  read_environment ();
  g_atomic_int_set (&fail_at, 0);
  g_atomic_int_set (&counted, 0);
  g_atomic_int_set (&fail_errno, errsv < 0 ? CRASH : errsv);
  g_atomic_int_set (&fail_at, (int)n);
}

unsigned
bk_fsio_count (void)
{
  return (unsigned)g_atomic_int_get (&counted);
}

static void
close_fd (int *fd)
{
  if (*fd >= 0)
    close (*fd);
}
#define AUTO_FD __attribute__ ((cleanup (close_fd))) int

gboolean
bk_fsio_sync_fd (int fd, const char *path_for_errors, GError **error)
{
  if (fault () || fsync (fd) < 0)
    return bk_error_set_errno (error, errno, "cannot bring '%s' to stable storage", path_for_errors);
  return TRUE;
}

gboolean
bk_fsio_sync (const char *path, GError **error)
{
  AUTO_FD fd = open (path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return bk_error_set_errno (error, errno, "cannot open '%s'", path);
  return bk_fsio_sync_fd (fd, path, error);
}

static gboolean
sync_parent (const char *path, GError **error)
{
  g_autofree char *parent = g_path_get_dirname (path);
  return bk_fsio_sync (parent, error);
}

/* TRUE also when the folder is there already. */
static gboolean
make_one_folder (const char *path, GError **error)
{
  if (g_file_test (path, G_FILE_TEST_IS_DIR))
    return TRUE;
  bool failed = fault ();
  if (!failed && mkdir (path, 0700) == 0) {
    if (sync_parent (path, error))
      return TRUE;
    rmdir (path); /* so that it is new, and synced, the next time */
    return FALSE;
  }
  int errsv = errno;
  if (!failed && errsv == EEXIST && g_file_test (path, G_FILE_TEST_IS_DIR))
    return TRUE; /* somebody was quicker */
  return bk_error_set_errno (error, errsv, "cannot make folder '%s'", path);
}

gboolean
bk_fsio_make_folder (const char *path, GError **error)
{
  g_autofree char *full = g_canonicalize_filename (path, NULL);
  for (char *slash = strchr (full + 1, '/'); slash != NULL; slash = strchr (slash + 1, '/')) {
    *slash = '\0';
    if (!make_one_folder (full, error))
      return FALSE;
    *slash = '/';
  }
  return make_one_folder (full, error);
}

static gboolean
write_all (int fd, const char *path, const char *data, size_t length, GError **error)
{
  if (fault ())
    return bk_error_set_errno (error, errno, "cannot write '%s'", path);
  while (length > 0) {
    ssize_t n = write (fd, data, length);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return bk_error_set_errno (error, errno, "cannot write '%s'", path);
    data += n;
    length -= (size_t)n;
  }
  return TRUE;
}

static gboolean
write_and_rename (int fd, const char *temporary, const char *path, const void *data, size_t length, GError **error)
{
  if (!write_all (fd, path, data, length, error) || !bk_fsio_sync_fd (fd, path, error))
    return FALSE;
  if (fault () || rename (temporary, path) < 0)
    return bk_error_set_errno (error, errno, "cannot put '%s' in its place", path);
  return TRUE;
}

gboolean
bk_fsio_write_file (const char *path, const void *data, size_t length, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (path);
  g_autofree char *name = g_path_get_basename (path);
  g_autofree char *temporary = g_strdup_printf ("%s/.%s.XXXXXX", folder, name);
  AUTO_FD fd = fault () ? -1 : mkostemp (temporary, O_CLOEXEC); /* 0600 */
  if (fd < 0)
    return bk_error_set_errno (error, errno, "cannot create a file in '%s'", folder);
  if (!write_and_rename (fd, temporary, path, data, length, error)) {
    unlink (temporary);
    return FALSE;
  }
  return bk_fsio_sync (folder, error);
}

gboolean
bk_fsio_write_json (const char *path, json_object *json, GError **error)
{
  const char *text = json_object_to_json_string_ext (json, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
  g_autofree char *line = g_strconcat (text, "\n", NULL);
  return bk_fsio_write_file (path, line, strlen (line), error);
}

gboolean
bk_fsio_create_file (const char *path, GError **error)
{
  AUTO_FD fd = fault () ? -1 : open (path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd >= 0)
    return TRUE;
  if (errno != EEXIST)
    return bk_error_set_errno (error, errno, "cannot create '%s'", path);
  g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "'%s' exists already", path);
  return FALSE;
}

gboolean
bk_fsio_write_at (int fd, const char *path, const void *data, size_t length, uint64_t offset, GError **error)
{
  for (size_t done = 0; done < length;) {
    ssize_t n = fault () ? -1 : pwrite (fd, (const char *)data + done, length - done, (off_t)(offset + done));
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return bk_error_set_errno (error, errno, "cannot write to '%s'", path);
    done += (size_t)n;
  }
  return TRUE;
}

gboolean
bk_fsio_read_at (int fd, const char *path, void *data, size_t length, uint64_t offset, GError **error)
{
  for (size_t done = 0; done < length;) {
    ssize_t n = fault () ? -1 : pread (fd, (char *)data + done, length - done, (off_t)(offset + done));
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return bk_error_set_errno (error, errno, "cannot read '%s'", path);
    if (n == 0) {
      g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT, "'%s' ends at %" PRIu64 ", which is too early", path, offset + done);
      return FALSE;
    }
    done += (size_t)n;
  }
  return TRUE;
}

static gboolean
read_all (int fd, const char *path, GByteArray *bytes, size_t limit, GError **error)
{
  if (fault ())
    return bk_error_set_errno (error, errno, "cannot read '%s'", path);
  for (;;) {
    guint8 buffer[16384];
    ssize_t n = read (fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return bk_error_set_errno (error, errno, "cannot read '%s'", path);
    if (n == 0)
      return TRUE;
    if (bytes->len + (size_t)n > limit) {
      g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT, "'%s' is longer than %zu bytes", path, limit);
      return FALSE;
    }
    g_byte_array_append (bytes, buffer, (guint)n);
  }
}

gboolean
bk_fsio_read_file (const char *path, size_t limit, char **data, size_t *length, GError **error)
{
  g_assert (limit < G_MAXUINT - 1);
  /* O_NONBLOCK: a FIFO of that name must not hold us. */
  AUTO_FD fd = open (path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return bk_error_set_errno (error, errno, "cannot open '%s'", path);
  struct stat st;
  if (fstat (fd, &st) < 0 || !S_ISREG (st.st_mode)) {
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "'%s' is not a regular file", path);
    return FALSE;
  }
  g_autoptr (GByteArray) bytes = g_byte_array_new ();
  if (!read_all (fd, path, bytes, limit, error))
    return FALSE;
  if (length != NULL)
    *length = bytes->len;
  g_byte_array_append (bytes, (const guint8 *)"", 1);
  *data = (char *)g_byte_array_free (g_steal_pointer (&bytes), FALSE);
  return TRUE;
}

static bool
rename_without_replace (const char *from, const char *to)
{
  if (renameat2 (AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
    return true;
  if (errno != EINVAL && errno != ENOSYS)
    return false;
  /* NFS and others do not know the flag; link(2) does not replace either. */
  return link (from, to) == 0 && unlink (from) == 0;
}

gboolean
bk_fsio_rename (const char *from, const char *to, gboolean replace, GError **error)
{
  if (fault () || !(replace ? rename (from, to) == 0 : rename_without_replace (from, to))) {
    int errsv = errno;
    if (errsv != EEXIST || replace)
      return bk_error_set_errno (error, errsv, "cannot rename '%s' to '%s'", from, to);
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "'%s' exists already", to);
    return FALSE;
  }
  g_autofree char *from_folder = g_path_get_dirname (from);
  g_autofree char *to_folder = g_path_get_dirname (to);
  if (!bk_fsio_sync (to_folder, error))
    return FALSE;
  return g_str_equal (from_folder, to_folder) || bk_fsio_sync (from_folder, error);
}

static gboolean remove_at (int folder, const char *name, const char *path, GError **error);

static void
close_directory (DIR **directory)
{
  closedir (*directory);
}

static gboolean
remove_content (int folder, const char *name, const char *path, GError **error)
{
  int fd = openat (folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0)
    return bk_error_set_errno (error, errno, "cannot open folder '%s'", path);
  __attribute__ ((cleanup (close_directory))) DIR *directory = fdopendir (fd);
  g_assert (directory != NULL);
  for (;;) {
    errno = 0;
    struct dirent *entry = readdir (directory);
    if (entry == NULL && errno != 0)
      return bk_error_set_errno (error, errno, "cannot read folder '%s'", path);
    if (entry == NULL)
      return TRUE;
    if (g_str_equal (entry->d_name, ".") || g_str_equal (entry->d_name, ".."))
      continue;
    g_autofree char *below = g_build_filename (path, entry->d_name, NULL);
    if (!remove_at (fd, entry->d_name, below, error))
      return FALSE;
  }
}

static gboolean
remove_at (int folder, const char *name, const char *path, GError **error)
{
  if (fault ())
    return bk_error_set_errno (error, errno, "cannot remove '%s'", path);
  if (unlinkat (folder, name, 0) == 0 || errno == ENOENT)
    return TRUE;
  if (errno != EISDIR && errno != EPERM) /* EPERM is what POSIX says for a folder */
    return bk_error_set_errno (error, errno, "cannot remove '%s'", path);
  if (!remove_content (folder, name, path, error))
    return FALSE;
  if (fault () || unlinkat (folder, name, AT_REMOVEDIR) < 0)
    return bk_error_set_errno (error, errno, "cannot remove folder '%s'", path);
  return TRUE;
}

/* A file system that cannot sync a folder says EINVAL. What was to be made there has failed for that; what is to go is
 * gone as well as can be, and saying otherwise would have the undo of a job tried again for ever. */
static gboolean
sync_after_removal (const char *folder, GError **error)
{
  AUTO_FD fd = open (folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0)
    return bk_error_set_errno (error, errno, "cannot open '%s'", folder);
  if (fault () || (fsync (fd) < 0 && errno != EINVAL))
    return bk_error_set_errno (error, errno, "cannot bring '%s' to stable storage", folder);
  return TRUE;
}

gboolean
bk_fsio_remove (const char *path, GError **error)
{
  g_autofree char *parent = g_path_get_dirname (path);
  if (!g_file_test (parent, G_FILE_TEST_IS_DIR))
    return TRUE;
  return remove_at (AT_FDCWD, path, path, error) && sync_after_removal (parent, error);
}

static int
open_unlinked (const char *folder)
{
  int fd = open (folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
    return fd;
  g_autofree char *path = g_build_filename (folder, ".scratch.XXXXXX", NULL);
  fd = mkostemp (path, O_CLOEXEC);
  if (fd >= 0)
    unlink (path);
  return fd;
}

int
bk_fsio_open_scratch (const char *folder, uint64_t size, GError **error)
{
  AUTO_FD fd = fault () ? -1 : open_unlinked (folder);
  if (fd < 0) {
    bk_error_set_errno (error, errno, "cannot create a scratch file in '%s'", folder);
    return -1;
  }
  if (fault () || ftruncate (fd, (off_t)size) < 0) {
    bk_error_set_errno (error, errno, "cannot make a scratch file of %" PRIu64 " bytes in '%s'", size, folder);
    return -1;
  }
  int result = fd;
  fd = -1;
  return result;
}

gboolean
bk_fsio_free_space (const char *path, uint64_t *bytes, GError **error)
{
  struct statvfs vfs;
  if (statvfs (path, &vfs) < 0)
    return bk_error_set_errno (error, errno, "cannot ask for the free space of '%s'", path);
  *bytes = (uint64_t)vfs.f_bavail * vfs.f_frsize;
  return TRUE;
}
