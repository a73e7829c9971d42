/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "manifest.h"

#include "fsio.h"
#include "layout.h"

#include <inttypes.h>
#include <stdarg.h>

static gboolean
damaged (GError **error, const char *format, ...) G_GNUC_PRINTF (2, 3);

static gboolean
damaged (GError **error, const char *format, ...)
{
  va_list args;
  va_start (args, format);
  g_autofree char *what = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error_literal (error, BK_ERROR, BK_ERROR_CORRUPT, what);
  return FALSE;
}

static gboolean
check_image (const BkBackupDisk *disk, const char *backup, GError **error)
{
  g_autofree char *wanted = bk_layout_image (disk->name);
  if (g_strcmp0 (disk->file, wanted) != 0)
    return damaged (error, "disk '%s' has its image in '%s' where '%s' belongs", disk->name,
                    disk->file ? disk->file : "(nothing)", wanted);
  if (disk->format != NULL && !g_str_equal (disk->format, "qcow2"))
    return damaged (error, "disk '%s' has format '%s', not qcow2", disk->name, disk->format);
  if (disk->parent != NULL && (*disk->parent == '\0' || g_str_equal (disk->parent, backup)))
    return damaged (error, "disk '%s' stands on backup '%s'", disk->name, disk->parent);
  return TRUE;
}

static gboolean
check_disk (const BkBackupDisk *disk, const char *backup, GError **error)
{
  if (*disk->name == '\0')
    return damaged (error, "a disk has no name");
  if (g_str_equal (disk->state, "completed"))
    return check_image (disk, backup, error);
  if (!g_str_equal (disk->state, "failed"))
    return damaged (error, "disk '%s' has state '%s'", disk->name, disk->state);
  if (disk->file == NULL && disk->parent == NULL)
    return TRUE;
  return damaged (error, "disk '%s' has failed and yet an image", disk->name);
}

/* As it stands in the file. */
static gboolean
check_content (const BkBackupInfo *manifest, GError **error)
{
  g_autoptr (GHashTable) seen = g_hash_table_new (g_str_hash, g_str_equal);
  if (!g_str_equal (manifest->state, "completed") && !g_str_equal (manifest->state, "partial"))
    return damaged (error, "it has state '%s'", manifest->state);
  for (unsigned i = 0; manifest->disks != NULL && i < manifest->disks->len; i++) {
    const BkBackupDisk *disk = manifest->disks->pdata[i];
    if (!check_disk (disk, manifest->id, error))
      return FALSE;
    if (!g_hash_table_add (seen, disk->name))
      return damaged (error, "disk '%s' is there twice", disk->name);
  }
  return TRUE;
}

static void
set_string (char **place, char *text)
{
  g_free (*place);
  *place = text;
}

static void
make_absolute (BkBackupInfo *manifest, const char *folder)
{
  set_string (&manifest->location, g_strdup (folder));
  for (unsigned i = 0; manifest->disks != NULL && i < manifest->disks->len; i++) {
    BkBackupDisk *disk = manifest->disks->pdata[i];
    if (disk->file != NULL)
      set_string (&disk->file, g_build_filename (folder, disk->file, NULL));
  }
}

static gboolean
check_version (json_object *json, GError **error)
{
  json_object *version = json_object_object_get (json, "version");
  int64_t number = json_object_is_type (version, json_type_int) ? json_object_get_int64 (version) : 0;
  if (number == BK_MANIFEST_VERSION)
    return TRUE;
  if (number < BK_MANIFEST_VERSION)
    return damaged (error, "it has no version");
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "it has version %" PRId64 "; use a newer backupd to read it", number);
  return FALSE;
}

static BkBackupInfo *
parse (const char *text, size_t length, GError **error)
{
  g_autoptr (json_object) json = bk_json_parse (text, length, error);
  if (json == NULL || !json_object_is_type (json, json_type_object)) {
    if (error != NULL && *error == NULL)
      damaged (error, "it is no JSON object");
    return NULL;
  }
  return check_version (json, error) ? bk_struct_from_json (&bk_backup_info_struct, json, error) : NULL;
}

static BkBackupInfo *
parse_and_check (const char *text, size_t length, const char *vm, const char *backup, GError **error)
{
  g_autoptr (BkBackupInfo) manifest = parse (text, length, error);
  if (manifest == NULL)
    return NULL;
  if (!g_str_equal (manifest->vm, vm) || !g_str_equal (manifest->id, backup)) {
    damaged (error, "it is that of backup '%s' of VM '%s'", manifest->id, manifest->vm);
    return NULL;
  }
  return check_content (manifest, error) ? g_steal_pointer (&manifest) : NULL;
}

BkBackupInfo *
bk_manifest_read (const char *folder, const char *vm, const char *backup, GError **error)
{
  g_autofree char *path = g_build_filename (folder, BK_LAYOUT_MANIFEST, NULL);
  g_autofree char *text = NULL;
  g_autoptr (GError) why = NULL;
  size_t length = 0;
  if (!bk_fsio_read_file (path, BK_MANIFEST_LIMIT, &text, &length, error))
    return NULL;
  BkBackupInfo *manifest = parse_and_check (text, length, vm, backup, &why);
  if (manifest != NULL) {
    make_absolute (manifest, folder);
    return manifest;
  }
  bool newer = g_error_matches (why, BK_ERROR, BK_ERROR_FAILED);
  g_set_error (error, BK_ERROR, newer ? BK_ERROR_FAILED : BK_ERROR_CORRUPT, "manifest '%s' %s: %s", path,
               newer ? "cannot be read" : "is damaged", why->message);
  return NULL;
}

/* A copy as it stands in the file; (transfer full). */
static BkBackupInfo *
make_relative (const BkBackupInfo *manifest)
{
  BkBackupInfo *copy = bk_struct_copy (&bk_backup_info_struct, manifest);
  copy->version = BK_MANIFEST_VERSION;
  set_string (&copy->location, g_strdup (""));
  for (unsigned i = 0; copy->disks != NULL && i < copy->disks->len; i++) {
    BkBackupDisk *disk = copy->disks->pdata[i];
    bool completed = g_strcmp0 (disk->state, "completed") == 0;
    set_string (&disk->file, completed ? bk_layout_image (disk->name) : NULL);
    if (!completed)
      set_string (&disk->parent, NULL);
  }
  return copy;
}

gboolean
bk_manifest_write (const char *folder, const BkBackupInfo *manifest, GError **error)
{
  g_autofree char *path = g_build_filename (folder, BK_LAYOUT_MANIFEST, NULL);
  g_autoptr (BkBackupInfo) copy = make_relative (manifest);
  g_autoptr (json_object) json = bk_struct_to_json (&bk_backup_info_struct, copy);
  g_autoptr (GError) why = NULL;
  size_t length = 0;
  const char *text = json_object_to_json_string_length (json, JSON_C_TO_STRING_PRETTY, &length);
  g_autoptr (BkBackupInfo) back = parse_and_check (text, length, manifest->vm, manifest->id, &why);
  if (back == NULL || length >= BK_MANIFEST_LIMIT) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "cannot write manifest '%s': %s", path,
                 why ? why->message : "it is too long");
    return FALSE;
  }
  return bk_fsio_write_json (path, json, error);
}
