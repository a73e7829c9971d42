/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state-lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static gboolean
sync_folder (const char *path, GError **error)
{
  int fd = open (path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int rc = fd < 0 ? -1 : fsync (fd);
  int errsv = errno;
  if (fd >= 0)
    close (fd);
  return rc == 0 || bk_error_set_errno (error, errsv, "cannot sync the folder '%s'", path);
}

static gboolean
refuse_non_folder (const char *path, GError **error)
{
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID,
               "the state directory '%s' is not a folder: move it away, or name another one with --state-dir", path);
  return FALSE;
}

/* Each new folder's parent is synced: a catalog on stable storage in a folder that is not would be lost. */
static gboolean
make_folder (const char *path, GError **error)
{
  if (g_file_test (path, G_FILE_TEST_IS_DIR))
    return TRUE;
  g_autofree char *parent = g_path_get_dirname (path);
  if (!g_file_test (path, G_FILE_TEST_EXISTS) && strcmp (parent, path) != 0 && !make_folder (parent, error))
    return FALSE;
  if (mkdir (path, 0700) == 0)
    return sync_folder (parent, error);
  if (errno == EEXIST || errno == ENOTDIR)
    return refuse_non_folder (path, error);
  return bk_error_set_errno (error, errno, "cannot make the state directory '%s'; name another one with --state-dir",
                             path);
}

static void
refuse_locked (int fd, const char *state_dir, GError **error)
{
  char pid[32] = "";
  ssize_t length = pread (fd, pid, sizeof pid - 1, 0);
  bool known = length > 0 && atoi (pid) > 0;
  g_autofree char *owner = known ? g_strdup_printf ("process %d", atoi (pid)) : g_strdup ("another process");
  g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT,
               "the state directory '%s' is in use by %s: end that backupd, or name another directory with --state-dir",
               state_dir, owner);
}

static gboolean
write_pid (int fd, const char *path, GError **error)
{
  g_autofree char *pid = g_strdup_printf ("%d\n", (int)getpid ());
  ssize_t length = (ssize_t)strlen (pid);
  errno = EIO;
  if (ftruncate (fd, 0) == 0 && pwrite (fd, pid, (size_t)length, 0) == length)
    return TRUE;
  return bk_error_set_errno (error, errno, "cannot write '%s'", path);
}

static gboolean
take (int fd, const char *state_dir, const char *path, GError **error)
{
  if (flock (fd, LOCK_EX | LOCK_NB) == 0)
    return write_pid (fd, path, error);
  if (errno != EWOULDBLOCK)
    return bk_error_set_errno (error, errno, "cannot lock '%s'", path);
  refuse_locked (fd, state_dir, error);
  return FALSE;
}

int
bk_state_lock (const char *state_dir, GError **error)
{
  if (!make_folder (state_dir, error))
    return -1;
  g_autofree char *path = g_build_filename (state_dir, "lock", NULL);
  int fd = open (path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) {
    bk_error_set_errno (error, errno, "cannot use the state directory '%s'; run backupd as its owner, or name another "
                        "one with --state-dir", state_dir);
    return -1;
  }
  if (take (fd, state_dir, path, error))
    return fd;
  close (fd);
  return -1;
}
