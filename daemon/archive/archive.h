/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A repository of type qcow2, on one file system:
 *
 *   PATH/repository.json              {"format": "backupd-qcow2", "version": 1, "id": "..."}
 *   PATH/VM/BACKUP/manifest.json      the commit point: a folder without it is no backup
 *   PATH/VM/BACKUP/DISK.qcow2         qcow2 v3; backing file ../PARENT/DISK.qcow2 for increments
 *
 * Invariants:
 *  1. A manifest is renamed into place only after every image that it names is on stable storage.
 *  2. The backing file of an image in a committed backup belongs to a committed backup.
 *  3. An image in a committed backup is never written again, but for moving it to an older backing file
 *     with the same content visible (bk_archive_detach()).
 *  4. Everything can be read with qemu-img alone, without catalog and daemon.
 *
 * Blocking: worker threads or start-up. qemu-img does all work on images. Errors: NO_SPACE, NOT_FOUND,
 * DENIED, CORRUPT, UNREACHABLE (the repository's folder is gone), FAILED.
 * Folder and file names are made of bk_name_is_valid() words; a disk name with other characters is written
 * with them as %XX.
 */
#pragma once

#include "bk-types.h"

typedef struct BkArchive BkArchive;

/* Opens a repository; makes it when the folder is missing or empty and @create. CONFLICT when the folder
 * holds something else, NOT_FOUND without @create. Any thread; a BkArchive is immutable afterwards. */
BkArchive *bk_archive_open (const char *path, gboolean create, GError **error) G_GNUC_WARN_UNUSED_RESULT;
BkArchive *bk_archive_ref (BkArchive *archive);
void bk_archive_unref (BkArchive *archive);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkArchive, bk_archive_unref)

/* Paths; (transfer full). */
char *bk_archive_backup_folder (BkArchive *archive, const char *vm, const char *backup);
char *bk_archive_image_path (BkArchive *archive, const char *vm, const char *backup, const char *disk);
/* As it stands in the header of an image of the same disk: "../BACKUP/DISK.qcow2". */
char *bk_archive_backing_name (const char *backup, const char *disk);

/* Makes the folder of a backup to come. CONFLICT when it exists. */
gboolean bk_archive_begin (BkArchive *archive, const char *vm, const char *backup, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Fsyncs the folder and renames the manifest into place: from then on the backup exists. The images must have
 * been synced by the caller (bk_fsio_sync()). */
gboolean bk_archive_commit (BkArchive *archive, const BkBackupInfo *manifest, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Whether the manifest of @backup is there. */
gboolean bk_archive_has (BkArchive *archive, const char *vm, const char *backup);

/* Reads one manifest, with file and location made absolute. CORRUPT when it is damaged. */
BkBackupInfo *bk_archive_read (BkArchive *archive, const char *vm, const char *backup, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* All committed backups, oldest first; (transfer full), BkBackupInfo. Damaged ones are logged and left out. */
GPtrArray *bk_archive_list (BkArchive *archive, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Removes a backup that was begun and never committed; CONFLICT when it has a manifest. */
gboolean bk_archive_abort (BkArchive *archive, const char *vm, const char *backup, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Folders without a manifest, of no running job: (transfer full) VM/BACKUP strings. */
GStrv bk_archive_debris (BkArchive *archive, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Called with 0..1 from the worker. */
typedef void (*BkArchiveProgress) (double fraction, gpointer user_data);

/* Before @backup goes: moves the images of @child that stand on it to the backing file of @backup's own image
 * (or to none), copying what they need. Content as seen does not change at any moment; may be repeated. Then
 * rewrites @child's manifest. Disks of @child that do not stand on @backup are left alone. */
gboolean bk_archive_detach (BkArchive *archive, const char *vm, const char *backup, const char *child,
                            BkArchiveProgress progress, gpointer user_data, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Removes a committed backup on which no other stands: first the manifest, then the rest. CONFLICT names the
 * backups that stand on it. */
gboolean bk_archive_remove (BkArchive *archive, const char *vm, const char *backup, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Bytes taken by all of it. */
uint64_t bk_archive_bytes_stored (BkArchive *archive);
