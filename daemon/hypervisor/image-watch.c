/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image-watch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* QEMU's RAW_LOCK_PERM_BASE and BLK_PERM_WRITE (block/file-posix.c). */
#define WRITE_LOCK_BYTE 101
/* More than the clock of any local file system takes for a step (some ms). */
#define SETTLE_NS (20 * INT64_C (1000000))
#define SETTLE_TRIES 100
/* Of /sys/dev/block/MAJOR:MINOR/stat, from 0: sectors written. */
#define STAT_SECTORS_WRITTEN 6

static gboolean
set_errno (GError **error, const char *path)
{
  return bk_error_set_errno (error, errno, "cannot look at image '%s'", path);
}

gboolean
bk_image_is_written (const char *path, bool *written, GError **error)
{
  int fd = open (path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return set_errno (error, path);
  struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = WRITE_LOCK_BYTE, .l_len = 1 };
  /* Where there are no locks there is none of QEMU either; then only the other witness speaks. */
  *written = fcntl (fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
  close (fd);
  return TRUE;
}

/* 0 when it is not known: a device without statistics. */
static uint64_t
sectors_written (dev_t device)
{
  g_autofree char *path = g_strdup_printf ("/sys/dev/block/%u:%u/stat", major (device), minor (device));
  g_autofree char *text = NULL;
  if (!g_file_get_contents (path, &text, NULL, NULL))
    return 0;
  g_auto (GStrv) words = g_strsplit_set (g_strstrip (text), " ", -1);
  unsigned n = 0;
  for (size_t i = 0; words[i]; i++)
    if (*words[i] != '\0' && n++ == STAT_SECTORS_WRITTEN)
      return g_ascii_strtoull (words[i], NULL, 10);
  return 0;
}

static int64_t
nanoseconds (const struct timespec *time)
{
  return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

/* "NUMBERS PATH" */
static char *
describe (const char *path, const struct stat *info)
{
  if (S_ISBLK (info->st_mode))
    return g_strdup_printf ("device %u:%u %" PRIu64 " %s", major (info->st_rdev), minor (info->st_rdev), sectors_written (info->st_rdev), path);
  return g_strdup_printf ("file %" PRIu64 ":%" PRIu64 " %" PRId64 " %" PRId64 " %" PRId64 " %s", (uint64_t)info->st_dev, (uint64_t)info->st_ino,
                          (int64_t)info->st_size, nanoseconds (&info->st_mtim), nanoseconds (&info->st_ctim), path);
}

static bool
is_settled (const struct stat *info)
{
  struct timespec now;
  clock_gettime (CLOCK_REALTIME, &now);
  int64_t age = nanoseconds (&now) - nanoseconds (&info->st_ctim);
  return S_ISBLK (info->st_mode) || age > SETTLE_NS || age < 0;
}

char *
bk_image_watch_new (const char *path, GError **error)
{
  struct stat info;
  for (unsigned i = 0; i < SETTLE_TRIES; i++) {
    if (stat (path, &info) < 0) {
      set_errno (error, path);
      return NULL;
    }
    if (is_settled (&info))
      return describe (path, &info);
    g_usleep (SETTLE_NS / 1000);
  }
  g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "image '%s' is being changed by another program", path);
  return NULL;
}

static gboolean
check_one (const char *watch, GError **error)
{
  const char *path = strchr (watch, '/');
  struct stat info;
  bool written = false;
  if (path == NULL || stat (path, &info) < 0 || !bk_image_is_written (path, &written, error)) {
    if (error && *error == NULL)
      set_errno (error, path ? path : watch);
    return FALSE;
  }
  g_autofree char *now = describe (path, &info);
  if (!written && strcmp (now, watch) == 0)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "image '%s' was %s", path, written ? "opened for writing" : "changed");
  return FALSE;
}

gboolean
bk_image_watch_check (const char *const *watches, GError **error)
{
  for (size_t i = 0; watches[i]; i++)
    if (!check_one (watches[i], error))
      return FALSE;
  return TRUE;
}
