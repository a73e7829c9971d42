/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "archive.h"

#include "fsio.h"
#include "image.h"
#include "bk-types.h"
#include "layout.h"
#include "manifest.h"
#include "ulid.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#define FORMAT "backupd-qcow2"
#define VERSION 1
#define MARKER_LIMIT 65536

struct BkArchive {
  char *path;
  char *id; /* of the marker; another one means that another file system is mounted there */
};

static void
archive_clear (gpointer data)
{
  BkArchive *archive = data;
  g_free (archive->path);
  g_free (archive->id);
}

BkArchive *
bk_archive_ref (BkArchive *archive)
{
  return g_atomic_rc_box_acquire (archive);
}

void
bk_archive_unref (BkArchive *archive)
{
  if (archive != NULL)
    g_atomic_rc_box_release_full (archive, archive_clear);
}

static const char *
get_string (json_object *json, const char *name)
{
  json_object *member = json_object_object_get (json, name);
  return json_object_is_type (member, json_type_string) ? json_object_get_string (member) : NULL;
}

/* The ID in the marker of the repository at @path; (transfer full). */
static char *
read_marker (const char *path, GError **error)
{
  g_autofree char *marker = g_build_filename (path, BK_LAYOUT_MARKER, NULL);
  g_autofree char *text = NULL;
  size_t length = 0;
  if (!bk_fsio_read_file (marker, MARKER_LIMIT, &text, &length, error))
    return NULL;
  g_autoptr (json_object) json = bk_json_parse (text, length, NULL);
  bool object = json != NULL && json_object_is_type (json, json_type_object);
  const char *id = object ? get_string (json, "id") : NULL;
  if (id == NULL || g_strcmp0 (get_string (json, "format"), FORMAT) != 0) {
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "'%s' is not of a repository of type qcow2; name another folder",
                 marker);
    return NULL;
  }
  int64_t version = json_object_get_int64 (json_object_object_get (json, "version"));
  if (version == VERSION)
    return g_strdup (id);
  g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "repository '%s' has version %" PRId64 "; use a newer backupd", path,
               version);
  return NULL;
}

static gboolean
write_marker (const char *path, GError **error)
{
  g_autofree char *marker = g_build_filename (path, BK_LAYOUT_MARKER, NULL);
  g_autofree char *id = bk_ulid_new ();
  g_autoptr (json_object) json = json_object_new_object ();
  json_object_object_add (json, "format", json_object_new_string (FORMAT));
  json_object_object_add (json, "version", json_object_new_int (VERSION));
  json_object_object_add (json, "id", json_object_new_string (id));
  return bk_fsio_write_json (marker, json, error);
}

static GDir *
open_folder (const char *path, GError **error)
{
  g_autoptr (GError) why = NULL;
  GDir *dir = g_dir_open (path, 0, &why);
  if (dir != NULL)
    return dir;
  bool missing = g_error_matches (why, G_FILE_ERROR, G_FILE_ERROR_NOENT);
  bool denied = g_error_matches (why, G_FILE_ERROR, G_FILE_ERROR_ACCES);
  g_set_error (error, BK_ERROR, missing ? BK_ERROR_NOT_FOUND : denied ? BK_ERROR_DENIED : BK_ERROR_FAILED,
               "cannot read folder '%s': %s", path, why->message);
  return NULL;
}

/* Hidden files are nothing: a crash while the marker was written leaves one, and so do file servers. */
static gboolean
is_empty (const char *path, bool *empty, GError **error)
{
  g_autoptr (GDir) dir = open_folder (path, error);
  if (dir == NULL)
    return FALSE;
  *empty = true;
  for (const char *name = g_dir_read_name (dir); name != NULL; name = g_dir_read_name (dir))
    if (name[0] != '.' && !g_str_equal (name, "lost+found"))
      *empty = false;
  return TRUE;
}

static gboolean
create (const char *path, GError **error)
{
  bool empty = false;
  if (!bk_fsio_make_folder (path, error) || !is_empty (path, &empty, error))
    return FALSE;
  if (empty)
    return write_marker (path, error);
  g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "'%s' is not empty and no repository; name another folder", path);
  return FALSE;
}

static gboolean
check_kind (const char *path, GError **error)
{
  if (!g_file_test (path, G_FILE_TEST_EXISTS) || g_file_test (path, G_FILE_TEST_IS_DIR))
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "'%s' is not a folder; name another", path);
  return FALSE;
}

static gboolean
tell_what_is_there (const char *path, GError **error)
{
  bool empty = true;
  if (g_file_test (path, G_FILE_TEST_IS_DIR) && !is_empty (path, &empty, error))
    return FALSE;
  if (empty)
    g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "there is no repository in '%s'", path);
  else
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "'%s' is not empty and no repository; name another folder", path);
  return FALSE;
}

BkArchive *
bk_archive_open (const char *path, gboolean create_it, GError **error)
{
  g_autofree char *full = g_canonicalize_filename (path, NULL);
  g_autofree char *marker = g_build_filename (full, BK_LAYOUT_MARKER, NULL);
  if (!check_kind (full, error))
    return NULL;
  if (!g_file_test (marker, G_FILE_TEST_EXISTS) &&
      !(create_it ? create (full, error) : tell_what_is_there (full, error)))
    return NULL;
  g_autofree char *id = read_marker (full, error);
  if (id == NULL)
    return NULL;
  BkArchive *archive = g_atomic_rc_box_new0 (BkArchive);
  archive->path = g_steal_pointer (&full);
  archive->id = g_steal_pointer (&id);
  return archive;
}

/* Each operation asks first: the folder of a file system that is not mounted is empty, which must neither be taken
 * for a repository without backups nor be filled. */
static gboolean
check_there (BkArchive *archive, GError **error)
{
  g_autoptr (GError) why = NULL;
  g_autofree char *id = read_marker (archive->path, &why);
  if (g_strcmp0 (id, archive->id) == 0)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "repository '%s' cannot be reached: %s; is it mounted?",
               archive->path, why ? why->message : "another repository is in its place");
  return FALSE;
}

static char *
vm_folder (BkArchive *archive, const char *vm)
{
  g_autofree char *vm_name = bk_path_component_escape (vm);
  return g_build_filename (archive->path, vm_name, NULL);
}

char *
bk_archive_backup_folder (BkArchive *archive, const char *vm, const char *backup)
{
  g_autofree char *folder = vm_folder (archive, vm);
  g_autofree char *backup_name = bk_path_component_escape (backup);
  return g_build_filename (folder, backup_name, NULL);
}

char *
bk_archive_image_path (BkArchive *archive, const char *vm, const char *backup, const char *disk)
{
  g_autofree char *folder = bk_archive_backup_folder (archive, vm, backup);
  g_autofree char *image = bk_layout_image (disk);
  return g_build_filename (folder, image, NULL);
}

char *
bk_archive_backing_name (const char *backup, const char *disk)
{
  g_autofree char *backup_name = bk_path_component_escape (backup);
  g_autofree char *image = bk_layout_image (disk);
  return g_build_filename ("..", backup_name, image, NULL);
}

static gboolean
set_conflict (GError **error, const char *vm, const char *backup, const char *what)
{
  g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "backup '%s' of VM '%s' %s", backup, vm, what);
  return FALSE;
}

gboolean
bk_archive_begin (BkArchive *archive, const char *vm, const char *backup, GError **error)
{
  g_autofree char *folder = bk_archive_backup_folder (archive, vm, backup);
  if (!check_there (archive, error))
    return FALSE;
  if (g_file_test (folder, G_FILE_TEST_EXISTS))
    return set_conflict (error, vm, backup, "exists already");
  return bk_fsio_make_folder (folder, error);
}

gboolean
bk_archive_has (BkArchive *archive, const char *vm, const char *backup)
{
  g_autofree char *folder = bk_archive_backup_folder (archive, vm, backup);
  g_autofree char *manifest = g_build_filename (folder, BK_LAYOUT_MANIFEST, NULL);
  return g_file_test (manifest, G_FILE_TEST_EXISTS);
}

static gboolean
check_committable (BkArchive *archive, const BkBackupInfo *manifest, const BkBackupDisk *disk, GError **error)
{
  if (g_strcmp0 (disk->state, "completed") != 0)
    return TRUE;
  g_autofree char *image = bk_archive_image_path (archive, manifest->vm, manifest->id, disk->name);
  if (!g_file_test (image, G_FILE_TEST_IS_REGULAR)) {
    g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "disk '%s': there is no image '%s'", disk->name, image);
    return FALSE;
  }
  if (disk->parent == NULL || bk_archive_has (archive, manifest->vm, disk->parent))
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "disk '%s': backup '%s', on which its image stands, is gone",
               disk->name, disk->parent);
  return FALSE;
}

/* A daemon that was killed as it wrote the manifest leaves its temporary file behind. */
static gboolean
remove_temporary_manifests (const char *folder, GError **error)
{
  g_autoptr (GDir) dir = open_folder (folder, error);
  if (dir == NULL)
    return FALSE;
  for (const char *name = g_dir_read_name (dir); name != NULL; name = g_dir_read_name (dir)) {
    g_autofree char *path = g_build_filename (folder, name, NULL);
    if (g_str_has_prefix (name, "." BK_LAYOUT_MANIFEST ".") && !bk_fsio_remove (path, error))
      return FALSE;
  }
  return TRUE;
}

/* When the last fsync of the manifest fails, nobody can say whether the backup exists: then it shall not. */
static gboolean
write_manifest_or_none (const char *folder, const BkBackupInfo *manifest, GError **error)
{
  if (remove_temporary_manifests (folder, error) && bk_fsio_sync (folder, error) && bk_manifest_write (folder, manifest, error))
    return TRUE;
  g_autofree char *path = g_build_filename (folder, BK_LAYOUT_MANIFEST, NULL);
  (void)!bk_fsio_remove (path, NULL);
  return FALSE;
}

gboolean
bk_archive_commit (BkArchive *archive, const BkBackupInfo *manifest, GError **error)
{
  g_autofree char *folder = bk_archive_backup_folder (archive, manifest->vm, manifest->id);
  if (!check_there (archive, error))
    return FALSE;
  if (bk_archive_has (archive, manifest->vm, manifest->id))
    return set_conflict (error, manifest->vm, manifest->id, "is committed already");
  for (unsigned i = 0; manifest->disks != NULL && i < manifest->disks->len; i++)
    if (!check_committable (archive, manifest, manifest->disks->pdata[i], error))
      return FALSE;
  return write_manifest_or_none (folder, manifest, error);
}

BkBackupInfo *
bk_archive_read (BkArchive *archive, const char *vm, const char *backup, GError **error)
{
  g_autofree char *folder = bk_archive_backup_folder (archive, vm, backup);
  if (!check_there (archive, error))
    return NULL;
  if (bk_archive_has (archive, vm, backup))
    return bk_manifest_read (folder, vm, backup, error);
  g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "there is no backup '%s' of VM '%s' in repository '%s'", backup, vm,
               archive->path);
  return NULL;
}

/* The names (unescaped) of the folders in @path that are ours; (transfer full). */
static GPtrArray *
list_names (const char *path, GError **error)
{
  g_autoptr (GDir) dir = open_folder (path, error);
  if (dir == NULL)
    return NULL;
  GPtrArray *names = g_ptr_array_new_with_free_func (g_free);
  for (const char *entry = g_dir_read_name (dir); entry != NULL; entry = g_dir_read_name (dir)) {
    g_autofree char *full = g_build_filename (path, entry, NULL);
    g_autofree char *name = bk_layout_unescape (entry);
    struct stat st;
    if (name != NULL && lstat (full, &st) == 0 && S_ISDIR (st.st_mode))
      g_ptr_array_add (names, g_steal_pointer (&name));
  }
  return names;
}

/* Returns FALSE to stop, with the error set. */
typedef gboolean (*EachBackup) (BkArchive *archive, const char *vm, const char *backup, gpointer user_data,
                                GError **error);

static gboolean
for_each_of_vm (BkArchive *archive, const char *vm, EachBackup func, gpointer user_data, GError **error)
{
  g_autofree char *folder = vm_folder (archive, vm);
  g_autoptr (GPtrArray) backups = list_names (folder, error);
  if (backups == NULL)
    return FALSE;
  for (unsigned i = 0; i < backups->len; i++)
    if (!func (archive, vm, backups->pdata[i], user_data, error))
      return FALSE;
  return TRUE;
}

static gboolean
for_each (BkArchive *archive, EachBackup func, gpointer user_data, GError **error)
{
  g_autoptr (GPtrArray) vms = list_names (archive->path, error);
  if (vms == NULL)
    return FALSE;
  for (unsigned i = 0; i < vms->len; i++)
    if (!for_each_of_vm (archive, vms->pdata[i], func, user_data, error))
      return FALSE;
  return TRUE;
}

static gboolean
add_manifest (BkArchive *archive, const char *vm, const char *backup, gpointer user_data, GError **error G_GNUC_UNUSED)
{
  g_autoptr (GError) why = NULL;
  if (!bk_archive_has (archive, vm, backup))
    return TRUE;
  g_autofree char *folder = bk_archive_backup_folder (archive, vm, backup);
  BkBackupInfo *manifest = bk_manifest_read (folder, vm, backup, &why);
  if (manifest != NULL)
    g_ptr_array_add (user_data, manifest);
  else
    g_warning ("backup '%s' of VM '%s' is left out: %s", backup, vm, why->message);
  return TRUE;
}

static int
by_time (gconstpointer a, gconstpointer b)
{
  const BkBackupInfo *x = *(BkBackupInfo *const *)a;
  const BkBackupInfo *y = *(BkBackupInfo *const *)b;
  if (x->point_in_time != y->point_in_time)
    return x->point_in_time < y->point_in_time ? -1 : 1;
  return strcmp (x->id, y->id); /* our own IDs sort by time, finer than the seconds of a manifest */
}

static void
free_info (gpointer info)
{
  bk_backup_info_free (info);
}

GPtrArray *
bk_archive_list (BkArchive *archive, GError **error)
{
  g_autoptr (GPtrArray) backups = g_ptr_array_new_with_free_func (free_info);
  if (!check_there (archive, error) || !for_each (archive, add_manifest, backups, error))
    return NULL;
  g_ptr_array_sort (backups, by_time);
  return g_steal_pointer (&backups);
}

gboolean
bk_archive_abort (BkArchive *archive, const char *vm, const char *backup, GError **error)
{
  g_autofree char *folder = bk_archive_backup_folder (archive, vm, backup);
  if (!check_there (archive, error))
    return FALSE;
  if (bk_archive_has (archive, vm, backup))
    return set_conflict (error, vm, backup, "is committed");
  return bk_fsio_remove (folder, error);
}

static gboolean
add_debris (BkArchive *archive, const char *vm, const char *backup, gpointer user_data, GError **error G_GNUC_UNUSED)
{
  g_autofree char *name = g_strconcat (vm, "/", backup, NULL);
  if (!bk_archive_has (archive, vm, backup))
    g_strv_builder_add (user_data, name);
  return TRUE;
}

GStrv
bk_archive_debris (BkArchive *archive, GError **error)
{
  g_autoptr (GStrvBuilder) debris = g_strv_builder_new ();
  if (!check_there (archive, error) || !for_each (archive, add_debris, debris, error))
    return NULL;
  return g_strv_builder_end (debris);
}

typedef struct {
  const char *backup;
  GString *standing; /* names of backups that stand on it */
} Dependents;

static bool
manifest_stands_on (const BkBackupInfo *manifest, const char *backup)
{
  for (unsigned i = 0; manifest->disks != NULL && i < manifest->disks->len; i++) {
    const BkBackupDisk *disk = manifest->disks->pdata[i];
    if (g_strcmp0 (disk->parent, backup) == 0)
      return true;
  }
  return false;
}

/* When the manifest is damaged the images say; one that says nothing counts as standing on everything. */
static bool
images_stand_on (const char *folder, const char *parent_folder)
{
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  const char *name = NULL;
  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL) {
    if (name[0] == '.' || !g_str_has_suffix (name, ".qcow2"))
      continue;
    g_autofree char *path = g_build_filename (folder, name, NULL);
    g_autoptr (BkImageInfo) info = bk_image_info (path, "qcow2", NULL);
    g_autofree char *below = info != NULL && info->backing != NULL ? g_path_get_dirname (info->backing) : NULL;
    if (info == NULL || g_strcmp0 (below, parent_folder) == 0)
      return true;
  }
  return dir == NULL;
}

static gboolean
add_dependent (BkArchive *archive, const char *vm, const char *backup, gpointer user_data, GError **error)
{
  const Dependents *dependents = user_data;
  if (g_str_equal (backup, dependents->backup) || !bk_archive_has (archive, vm, backup))
    return TRUE;
  g_autofree char *folder = bk_archive_backup_folder (archive, vm, backup);
  g_autofree char *parent_folder = bk_archive_backup_folder (archive, vm, dependents->backup);
  g_autoptr (GError) why = NULL;
  g_autoptr (BkBackupInfo) manifest = bk_manifest_read (folder, vm, backup, &why);
  if (manifest == NULL && !g_error_matches (why, BK_ERROR, BK_ERROR_CORRUPT)) {
    g_propagate_error (error, g_steal_pointer (&why));
    return FALSE;
  }
  bool stands = manifest != NULL ? manifest_stands_on (manifest, dependents->backup)
                                 : images_stand_on (folder, parent_folder);
  if (stands)
    g_string_append_printf (dependents->standing, "%s'%s'", dependents->standing->len > 0 ? ", " : "", backup);
  return TRUE;
}

static gboolean
check_removable (BkArchive *archive, const char *vm, const char *backup, GError **error)
{
  g_autoptr (GString) standing = g_string_new (NULL);
  Dependents dependents = { backup, standing };
  if (!for_each_of_vm (archive, vm, add_dependent, &dependents, error))
    return FALSE;
  if (standing->len == 0)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "backup '%s' of VM '%s' cannot be removed: %s stand on it", backup,
               vm, standing->str);
  return FALSE;
}

gboolean
bk_archive_remove (BkArchive *archive, const char *vm, const char *backup, GError **error)
{
  g_autofree char *folder = bk_archive_backup_folder (archive, vm, backup);
  g_autofree char *manifest = g_build_filename (folder, BK_LAYOUT_MANIFEST, NULL);
  if (!check_there (archive, error))
    return FALSE;
  if (!g_file_test (folder, G_FILE_TEST_IS_DIR)) {
    g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "there is no backup '%s' of VM '%s' in repository '%s'", backup,
                 vm, archive->path);
    return FALSE;
  }
  return check_removable (archive, vm, backup, error) && bk_fsio_remove (manifest, error) &&
         bk_fsio_remove (folder, error);
}

static uint64_t
count_bytes (const char *path)
{
  struct stat st;
  if (lstat (path, &st) < 0)
    return 0;
  uint64_t bytes = (uint64_t)st.st_blocks * 512;
  if (!S_ISDIR (st.st_mode))
    return bytes;
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const char *name = NULL;
  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL) {
    g_autofree char *below = g_build_filename (path, name, NULL);
    bytes += count_bytes (below);
  }
  return bytes;
}

uint64_t
bk_archive_bytes_stored (BkArchive *archive)
{
  return count_bytes (archive->path);
}
