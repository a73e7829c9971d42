/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Taking a backup out of the chain. What images stand on is read from their headers, not from manifests: a detach
 * that was interrupted has moved images of which no manifest knows yet.
 */
#include "archive.h"
#include "image.h"
#include "layout.h"
#include "manifest.h"

#include <string.h>
#include <sys/stat.h>

typedef struct {
  BkArchive *archive;
  const char *vm, *backup, *child;
  BkArchiveProgress progress;
  gpointer user_data;
  GCancellable *cancellable;
  unsigned disks, done; /* that stand on @backup */
} Detach;

static void
disk_progress (uint64_t done, uint64_t total, gpointer user_data)
{
  const Detach *detach = user_data;
  double fraction = total > 0 ? (double)done / (double)total : 0;
  if (detach->progress != NULL)
    detach->progress ((detach->done + fraction) / detach->disks, detach->user_data);
}

/* The image on which that of @backup stands must be that of the same disk in another backup of the VM. */
static gboolean
find_backup_of_image (const Detach *detach, const char *disk, const char *path, char **backup, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (path);
  g_autofree char *folder_name = g_path_get_basename (folder);
  g_autofree char *name = bk_layout_unescape (folder_name);
  g_autofree char *wanted =
      name != NULL ? bk_archive_image_path (detach->archive, detach->vm, name, disk) : g_strdup ("");
  if (!g_str_equal (wanted, path) || !bk_archive_has (detach->archive, detach->vm, name)) {
    g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT,
                 "disk '%s': its image in backup '%s' stands on '%s', which is in no backup of VM '%s'", disk,
                 detach->backup, path, detach->vm);
    return FALSE;
  }
  *backup = g_steal_pointer (&name);
  return TRUE;
}

/* *@backup becomes NULL for a full image. */
static gboolean
find_grandparent (const Detach *detach, const char *disk, char **backup, GError **error)
{
  g_autofree char *path = bk_archive_image_path (detach->archive, detach->vm, detach->backup, disk);
  g_autoptr (BkImageInfo) info = bk_image_info (path, "qcow2", error);
  *backup = NULL;
  if (info == NULL)
    return FALSE;
  return info->backing == NULL || find_backup_of_image (detach, disk, info->backing, backup, error);
}

/* Moves the image of @disk (in the child) to that of @target, or to none. Done already is fine. */
static gboolean
move_image (Detach *detach, const char *disk, const char *target, GError **error)
{
  g_autofree char *path = bk_archive_image_path (detach->archive, detach->vm, detach->child, disk);
  g_autofree char *old = bk_archive_image_path (detach->archive, detach->vm, detach->backup, disk);
  g_autofree char *new = target ? bk_archive_image_path (detach->archive, detach->vm, target, disk) : NULL;
  g_autofree char *name = target ? bk_archive_backing_name (target, disk) : NULL;
  g_autoptr (BkImageInfo) info = bk_image_info (path, "qcow2", error);
  if (info == NULL)
    return FALSE;
  if (g_strcmp0 (info->backing, new) == 0)
    return TRUE;
  if (g_strcmp0 (info->backing, old) == 0)
    return bk_image_rebase (path, name, disk_progress, detach, detach->cancellable, error);
  g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT, "image '%s' stands on '%s' where its manifest says '%s'", path,
               info->backing ? info->backing : "(none)", old);
  return FALSE;
}

static uint64_t
allocated (const char *path)
{
  struct stat st;
  return stat (path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

static gboolean
detach_disk (Detach *detach, BkBackupInfo *manifest, BkBackupDisk *disk, GError **error)
{
  g_autofree char *target = NULL;
  if (!find_grandparent (detach, disk->name, &target, error) || !move_image (detach, disk->name, target, error))
    return FALSE;
  if (target == NULL) {
    g_free (disk->level);
    disk->level = g_strdup ("full"); /* it stands for itself now */
  }
  g_free (disk->parent);
  disk->parent = g_steal_pointer (&target);
  uint64_t stored = allocated (disk->file);
  manifest->bytes_stored += stored - MIN (disk->bytes_stored, manifest->bytes_stored);
  disk->bytes_stored = stored;
  detach->done++;
  disk_progress (0, 1, detach);
  return TRUE;
}

static bool
stands_on (const BkBackupDisk *disk, const char *backup)
{
  return g_strcmp0 (disk->parent, backup) == 0;
}

static gboolean
check_parent (const Detach *detach, GError **error)
{
  g_autoptr (BkBackupInfo) parent = bk_archive_read (detach->archive, detach->vm, detach->backup, error);
  return parent != NULL;
}

gboolean
bk_archive_detach (BkArchive *archive, const char *vm, const char *backup, const char *child,
                   BkArchiveProgress progress, gpointer user_data, GCancellable *cancellable, GError **error)
{
  Detach detach = { archive, vm, backup, child, progress, user_data, cancellable, 0, 0 };
  g_autoptr (BkBackupInfo) manifest = bk_archive_read (archive, vm, child, error);
  if (manifest == NULL || !check_parent (&detach, error))
    return FALSE;
  for (unsigned i = 0; manifest->disks != NULL && i < manifest->disks->len; i++)
    detach.disks += stands_on (manifest->disks->pdata[i], backup);
  if (detach.disks == 0)
    return TRUE;
  for (unsigned i = 0; i < manifest->disks->len; i++) {
    BkBackupDisk *disk = manifest->disks->pdata[i];
    if (stands_on (disk, backup) && !detach_disk (&detach, manifest, disk, error))
      return FALSE;
  }
  g_autofree char *folder = bk_archive_backup_folder (archive, vm, child);
  return bk_manifest_write (folder, manifest, error);
}
