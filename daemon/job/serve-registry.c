/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "serve-registry.h"

#include "fsio.h"
#include "serve-process.h"
#include "ulid.h"

#include <string.h>

#define SERVES_MAX 64

/* Where meson installs the plugin; the environment may name another. */
#define PLUGIN_VARIABLE "BACKUPD_NBDKIT_PLUGIN"

struct BkServeRegistry {
  BkCatalog *catalog;
  BkRepositoryRegistry *repositories;
  BkEventRing *events;
  char *folder;
  GPtrArray *serves; /* Serve, oldest first; also those that do not answer yet */
};

/* Counted: the array has one reference, a start that is under way another. */
typedef struct {
  BkServeInfo *info;
  char *vm;
  BkServeProcess *process; /* NULL when it was taken out of the list */
  bool ready;
  BkServeRegistry *registry; /* counted as well */
} Serve;

static void
registry_clear (gpointer data)
{
  BkServeRegistry *registry = data;
  g_ptr_array_unref (registry->serves);
  g_free (registry->folder);
}

static void
registry_unref (BkServeRegistry *registry)
{
  g_rc_box_release_full (registry, registry_clear);
}

static void
serve_clear (gpointer data)
{
  Serve *serve = data;
  g_clear_pointer (&serve->process, bk_serve_process_free);
  bk_serve_info_free (serve->info);
  g_free (serve->vm);
  registry_unref (serve->registry);
}

static void
serve_unref (gpointer data)
{
  g_rc_box_release_full (data, serve_clear);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Serve, serve_unref)

BkServeRegistry *
bk_serve_registry_new (BkCatalog *catalog, BkRepositoryRegistry *repositories, BkEventRing *events, const char *folder)
{
  BkServeRegistry *registry = g_rc_box_new0 (BkServeRegistry);
  g_autoptr (GError) error = NULL;
  registry->catalog = catalog;
  registry->repositories = repositories;
  registry->events = events;
  registry->folder = g_strdup (folder);
  registry->serves = g_ptr_array_new_with_free_func (serve_unref);
  if (!bk_fsio_remove (folder, &error)) /* sockets of a daemon that was killed */
    g_warning ("%s", error->message);
  return registry;
}

/* Its server ends; a start that waits for it fails later, and finds it gone. */
static void
stop (Serve *serve)
{
  g_clear_pointer (&serve->process, bk_serve_process_free);
}

void
bk_serve_registry_free (BkServeRegistry *registry)
{
  for (unsigned i = 0; i < registry->serves->len; i++)
    stop (registry->serves->pdata[i]);
  g_ptr_array_set_size (registry->serves, 0);
  registry_unref (registry);
}

/* --- what to run --- */

/* A value of --image-opts: commas are doubled. */
static char *
escape_option (const char *value)
{
  g_auto (GStrv) parts = g_strsplit (value, ",", -1);
  return g_strjoinv (",,", parts);
}

static GPtrArray *
image_command (const char *file)
{
  GPtrArray *argv = g_ptr_array_new_with_free_func (g_free);
  g_autofree char *escaped = escape_option (file);
  g_ptr_array_add (argv, g_strdup ("qemu-nbd"));
  g_ptr_array_add (argv, g_strdup ("--read-only"));
  g_ptr_array_add (argv, g_strdup ("--persistent"));
  g_ptr_array_add (argv, g_strdup ("--shared=0"));
  g_ptr_array_add (argv, g_strdup ("--image-opts"));
  g_ptr_array_add (argv, g_strdup_printf ("driver=qcow2,file.driver=file,file.filename=%s", escaped));
  g_ptr_array_add (argv, NULL);
  return argv;
}

static GPtrArray *
dedup_command (const BkRepositoryInfo *repository, const BkServeInfo *info)
{
  GPtrArray *argv = g_ptr_array_new_with_free_func (g_free);
  const char *plugin = g_getenv (PLUGIN_VARIABLE);
  g_ptr_array_add (argv, g_strdup ("nbdkit"));
  g_ptr_array_add (argv, g_strdup ("--foreground"));
  g_ptr_array_add (argv, g_strdup ("--read-only"));
  g_ptr_array_add (argv, g_strdup ("--exit-with-parent"));
  g_ptr_array_add (argv, g_strdup (plugin ? plugin : BK_NBDKIT_PLUGIN));
  g_ptr_array_add (argv, g_strdup_printf ("repository=%s", repository->path));
  g_ptr_array_add (argv, g_strdup_printf ("backup=%s", info->backup));
  g_ptr_array_add (argv, g_strdup_printf ("disk=%s", info->disk));
  if (repository->passphrase_file)
    g_ptr_array_add (argv, g_strdup_printf ("passphrase-file=%s", repository->passphrase_file));
  if (repository->key_file)
    g_ptr_array_add (argv, g_strdup_printf ("key-file=%s", repository->key_file));
  g_ptr_array_add (argv, NULL);
  return argv;
}

static const BkBackupDisk *
find_disk (const BkBackupInfo *backup, const char *name, GError **error)
{
  g_autoptr (GString) known = g_string_new (NULL);
  for (unsigned i = 0; i < backup->disks->len; i++) {
    const BkBackupDisk *disk = backup->disks->pdata[i];
    bool whole = g_strcmp0 (disk->state, "completed") == 0;
    if (whole && strcmp (disk->name, name) == 0)
      return disk;
    if (whole)
      g_string_append_printf (known, "%s%s", known->len ? ", " : "", disk->name);
  }
  g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "backup '%s' has no disk '%s'; it has %s", backup->id, name, known->len ? known->str : "none that is whole");
  return NULL;
}

static GPtrArray *
make_command (BkServeRegistry *registry, const BkBackupInfo *backup, const BkBackupDisk *disk, const BkServeInfo *info, GError **error)
{
  if (backup->repository == NULL) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "backup '%s' is in no repository, but at %s: read it there", backup->id, backup->location ? backup->location : "its target");
    return NULL;
  }
  g_autoptr (BkStore) store = bk_repository_registry_open (registry->repositories, backup->repository, error);
  g_autoptr (BkRepositoryInfo) repository = store ? bk_repository_registry_info (registry->repositories, backup->repository, error) : NULL;
  if (repository == NULL)
    return NULL;
  return g_strcmp0 (repository->type, "dedup") == 0 ? dedup_command (repository, info) : image_command (disk->file);
}

/* --- start --- */

static void
publish (const Serve *serve)
{
  bk_event_ring_publish (serve->registry->events, "serve", serve->vm, NULL, bk_struct_to_json (&bk_serve_info_struct, serve->info));
}

static void
on_ended (BkServeProcess *process G_GNUC_UNUSED, const char *reason, gpointer user_data)
{
  g_autoptr (Serve) serve = g_rc_box_acquire (user_data);
  g_warning ("disk %s of backup %s is served no longer: %s", serve->info->disk, serve->info->backup, reason);
  stop (serve);
  g_ptr_array_remove (serve->registry->serves, serve);
  publish (serve);
}

static BkServeInfo *
make_info (const BkBackupInfo *backup, const BkBackupDisk *disk)
{
  BkServeInfo *info = g_new0 (BkServeInfo, 1);
  info->id = bk_ulid_new ();
  info->backup = g_strdup (backup->id);
  info->disk = g_strdup (disk->name);
  info->size = disk->size;
  info->created_at = g_get_real_time ();
  return info;
}

static gboolean
launch (Serve *serve, const BkBackupInfo *backup, const BkBackupDisk *disk, const char *listen, GError **error)
{
  BkServeRegistry *registry = serve->registry;
  g_autofree char *name = g_strconcat (serve->info->id, ".sock", NULL);
  g_autofree char *socket = g_build_filename (registry->folder, name, NULL);
  g_autoptr (GPtrArray) argv = make_command (registry, backup, disk, serve->info, error);
  if (argv == NULL || !bk_fsio_make_folder (registry->folder, error))
    return FALSE;
  serve->process = bk_serve_process_start (listen, socket, (const char *const *)argv->pdata, on_ended, serve, error);
  if (serve->process == NULL)
    return FALSE;
  serve->info->uri = g_strdup (bk_serve_process_uri (serve->process));
  return TRUE;
}

/* (transfer full), in the list, not ready. */
static Serve *
begin (BkServeRegistry *registry, const BkServeRequest *request, GError **error)
{
  g_autoptr (BkBackupInfo) backup = bk_catalog_get_backup (registry->catalog, request->backup, error);
  const BkBackupDisk *disk = backup ? find_disk (backup, request->disk, error) : NULL;
  if (disk == NULL)
    return NULL;
  if (registry->serves->len >= SERVES_MAX) {
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "%d disks are served already; stop one of them", SERVES_MAX);
    return NULL;
  }
  g_autoptr (Serve) serve = g_rc_box_new0 (Serve);
  serve->registry = g_rc_box_acquire (registry);
  serve->info = make_info (backup, disk);
  serve->vm = g_strdup (backup->vm);
  if (!launch (serve, backup, disk, request->listen, error))
    return NULL;
  g_ptr_array_add (registry->serves, g_rc_box_acquire (serve));
  return g_steal_pointer (&serve);
}

static void
on_ready (GObject *source G_GNUC_UNUSED, GAsyncResult *result, gpointer user_data)
{
  g_autoptr (GTask) task = user_data;
  Serve *serve = g_task_get_task_data (task);
  GError *error = NULL;
  if (!bk_serve_process_wait_finish (result, &error)) {
    stop (serve);
    g_ptr_array_remove (serve->registry->serves, serve);
    g_task_return_error (task, error);
    return;
  }
  if (serve->process == NULL) {
    g_task_return_new_error (task, BK_ERROR, BK_ERROR_CANCELLED, "it was stopped");
    return;
  }
  serve->ready = true;
  publish (serve);
  g_message ("disk %s of backup %s is served at %s", serve->info->disk, serve->info->backup, serve->info->uri);
  g_task_return_pointer (task, bk_struct_copy (&bk_serve_info_struct, serve->info), (GDestroyNotify)bk_serve_info_free);
}

void
bk_serve_registry_start_async (BkServeRegistry *registry, const BkServeRequest *request, GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr (GTask) task = g_task_new (NULL, NULL, callback, user_data);
  GError *error = NULL;
  Serve *serve = begin (registry, request, &error);
  if (serve == NULL) {
    g_task_return_error (task, error);
    return;
  }
  g_task_set_task_data (task, serve, serve_unref);
  bk_serve_process_wait_async (serve->process, on_ready, g_steal_pointer (&task));
}

BkServeInfo *
bk_serve_registry_start_finish (BkServeRegistry *registry G_GNUC_UNUSED, GAsyncResult *result, GError **error)
{
  return g_task_propagate_pointer (G_TASK (result), error);
}

/* --- those that there are --- */

GPtrArray *
bk_serve_registry_list (BkServeRegistry *registry)
{
  GPtrArray *list = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_serve_info_free);
  for (unsigned i = 0; i < registry->serves->len; i++) {
    const Serve *serve = registry->serves->pdata[i];
    if (serve->ready)
      g_ptr_array_add (list, bk_struct_copy (&bk_serve_info_struct, serve->info));
  }
  return list;
}

static Serve *
find (BkServeRegistry *registry, const char *id, GError **error)
{
  Serve *found = NULL;
  for (unsigned i = 0; i < registry->serves->len; i++) {
    Serve *serve = registry->serves->pdata[i];
    if (!serve->ready || id[0] == '\0' || !g_str_has_prefix (serve->info->id, id))
      continue;
    if (found) {
      g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s' is the beginning of several serves: %s, %s; write more of it", id, found->info->id, serve->info->id);
      return NULL;
    }
    found = serve;
  }
  if (found == NULL)
    g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "nothing is served under '%s'; list the serves to see those that there are", id);
  return found;
}

BkServeInfo *
bk_serve_registry_get (BkServeRegistry *registry, const char *id, GError **error)
{
  const Serve *serve = find (registry, id, error);
  return serve ? bk_struct_copy (&bk_serve_info_struct, serve->info) : NULL;
}

gboolean
bk_serve_registry_stop (BkServeRegistry *registry, const char *id, GError **error)
{
  Serve *found = find (registry, id, error);
  if (found == NULL)
    return FALSE;
  g_autoptr (Serve) serve = g_rc_box_acquire (found);
  stop (serve);
  g_ptr_array_remove (registry->serves, serve);
  publish (serve);
  return TRUE;
}

bool
bk_serve_registry_has_backup (BkServeRegistry *registry, const char *backup)
{
  for (unsigned i = 0; i < registry->serves->len; i++)
    if (strcmp (((const Serve *)registry->serves->pdata[i])->info->backup, backup) == 0)
      return true;
  return false;
}
