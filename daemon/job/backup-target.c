/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backup-target.h"

#include "fsio.h"
#include "image.h"
#include "output-sink.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

GStrv
bk_backup_target_new_files (const BkRun *run, const BkBackupRequest *request)
{
  g_autoptr (GStrvBuilder) files = g_strv_builder_new ();
  for (unsigned i = 0; request->target && i < run->disks->len; i++) {
    const BkRunDisk *disk = run->disks->pdata[i];
    if (!bk_run_disk_is_nbd (disk) && access (disk->target, F_OK) != 0)
      g_strv_builder_add (files, disk->target);
  }
  return g_strv_builder_end (files);
}

static bool
is_block_device (const char *path)
{
  struct stat st;
  return stat (path, &st) == 0 && S_ISBLK (st.st_mode);
}

static gboolean
make_image (BkRunDisk *disk, const BkBackupRequest *request, GError **error)
{
  if (bk_run_disk_is_nbd (disk))
    return TRUE;
  if (is_block_device (disk->target)) {
    g_free (disk->target_driver);
    disk->target_driver = g_strdup ("host_device");
  }
  bool update = disk->base_bitmaps != NULL && request->target && strcmp (disk->target_format, "raw") == 0;
  bool exists = access (disk->target, F_OK) == 0;
  /* An increment onto a raw target brings the copy of an earlier time up to date: it stays as it is. */
  if (update && exists)
    return TRUE;
  if (request->target && !bk_output_check (disk->target, disk->target_format, disk->size, request->force, error))
    return FALSE;
  if (strcmp (disk->target_driver, "host_device") == 0 && strcmp (disk->target_format, "raw") == 0)
    return TRUE;
  return bk_image_create (disk->target, disk->target_format, disk->size, disk->backing, request->force, error);
}

gboolean
bk_backup_target_make_folder (const BkRun *run, const BkBackupRequest *request, GError **error)
{
  if (request->target == NULL || run->disks->len < 2 || strstr (request->target, "://") != NULL)
    return TRUE;
  return bk_fsio_make_folder (request->target, error);
}

gboolean
bk_backup_target_make (BkRun *run, const BkBackupRequest *request, GError **error)
{
  if (!bk_backup_target_make_folder (run, request, error))
    return FALSE;
  for (unsigned i = 0; i < run->disks->len; i++) {
    BkRunDisk *disk = run->disks->pdata[i];
    if (make_image (disk, request, error))
      continue;
    g_prefix_error (error, "disk %s: ", disk->name);
    return FALSE;
  }
  return TRUE;
}

static char *
temporary_of (const BkRunDisk *disk)
{
  return g_strconcat (disk->target, ".part", NULL);
}

gboolean
bk_backup_target_clean (const BkRunDisk *disk, GError **error)
{
  if (disk->target == NULL || bk_output_kind (disk->target) != BK_OUTPUT_FILE)
    return TRUE;
  g_autofree char *temporary = temporary_of (disk);
  return bk_fsio_remove (temporary, error);
}

BkSink *
bk_backup_target_sink (const BkRunDisk *disk, const BkBackupRequest *request, GError **error)
{
  g_autofree char *temporary = temporary_of (disk);
  return bk_output_sink_new (disk->target, temporary, disk->target_format, disk->size, request->force, error);
}

gboolean
bk_backup_target_sync (BkRunDisk *disk, GError **error)
{
  if (bk_run_disk_is_nbd (disk))
    return TRUE; /* flushed by QEMU when the target was closed */
  if (!bk_fsio_sync (disk->target, error))
    return FALSE;
  struct stat st;
  if (stat (disk->target, &st) == 0 && S_ISREG (st.st_mode))
    disk->bytes_stored = (uint64_t)st.st_blocks * 512;
  if (strcmp (disk->target_format, "qcow2") != 0)
    return TRUE;
  uint64_t data = 0;
  return bk_image_check (disk->target, "qcow2", error) && bk_image_measure (disk->target, &data, &disk->bytes_zero, error);
}
