/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "target-check.h"

#include "image.h"
#include "nbd-uri.h"
#include "target.h"

#include <string.h>
#include <sys/stat.h>

static bool
is_same (const struct stat *a, const struct stat *b)
{
  if (S_ISBLK (a->st_mode) || S_ISBLK (b->st_mode))
    return S_ISBLK (a->st_mode) && S_ISBLK (b->st_mode) && a->st_rdev == b->st_rdev;
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Whatever --force says, and where QEMU was told not to lock its images as well. */
static gboolean
check_no_disk (const char *target, GPtrArray *disks, GError **error)
{
  struct stat st, other;
  if (stat (target, &st) < 0)
    return TRUE;
  for (unsigned i = 0; i < disks->len; i++) {
    const BkDisk *disk = disks->pdata[i];
    if (disk->file == NULL || stat (disk->file, &other) < 0 || !is_same (&st, &other))
      continue;
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "target '%s' is the image of disk '%s' of the VM itself; name another place",
                 target, disk->name);
    return FALSE;
  }
  return TRUE;
}

static gboolean
check_nbd (const char *target, GError **error)
{
  g_autoptr (BkNbdUri) uri = bk_nbd_uri_parse (target, error);
  return uri != NULL;
}

/* An increment brings a raw copy of an earlier time up to date: that is written where it is. */
static bool
is_update (const BkRunDisk *disk)
{
  return disk->base_bitmaps && disk->base_bitmaps[0] && strcmp (disk->target_format, "raw") == 0 &&
         g_file_test (disk->target, G_FILE_TEST_EXISTS);
}

static gboolean
check_folder (const char *folder, bool *exists, GError **error)
{
  *exists = g_file_test (folder, G_FILE_TEST_EXISTS);
  if (!*exists || g_file_test (folder, G_FILE_TEST_IS_DIR))
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "target '%s' is no folder, and there is more than one disk; name a folder, or one disk",
               folder);
  return FALSE;
}

static gboolean
check_disk (const BkRunDisk *disk, bool force, GError **error)
{
  if (is_update (disk))
    return bk_output_check_unused (disk->target, error);
  return bk_output_check (disk->target, disk->target_format, disk->size, force, error);
}

gboolean
bk_target_check_disks (BkRepositoryRegistry *repositories, const BkBackupRequest *request, const BkRun *run,
                       GPtrArray *disks, GError **error)
{
  bool several = run->disks->len > 1, exists = true;
  if (request->target == NULL)
    return TRUE;
  if (bk_target_is_nbd (request->target))
    return check_nbd (request->target, error);
  if (!bk_repository_registry_check_outside (repositories, request->target, error) ||
      (several && !check_folder (request->target, &exists, error)))
    return FALSE;
  for (unsigned i = 0; exists && i < run->disks->len; i++) {
    const BkRunDisk *disk = run->disks->pdata[i];
    if (!check_no_disk (disk->target, disks, error) || !check_disk (disk, request->force, error)) {
      if (error)
        g_prefix_error (error, "disk %s: ", disk->name);
      return FALSE;
    }
  }
  return TRUE;
}
