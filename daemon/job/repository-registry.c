/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repository-registry.h"

#include "background.h"
#include "fsio.h"
#include "repository.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
  BkRepositoryInfo *kept; /* what the catalog keeps of it */
  BkStore *store;         /* NULL as long as it cannot be opened */
  char *reason;           /* why not */
  bool locked;            /* because its secret is missing or wrong */
} Repository;

struct BkRepositoryRegistry {
  BkCatalog *catalog;
  GPtrArray *repositories; /* Repository, by name */
  GCancellable *cancellable; /* of examinations */
  unsigned examinations;
  char *state_dir;
};

static void
repository_free (gpointer data)
{
  Repository *repository = data;
  g_clear_pointer (&repository->store, bk_store_unref);
  bk_repository_info_free (repository->kept);
  g_free (repository->reason);
  g_free (repository);
}

BkRepositoryRegistry *
bk_repository_registry_new (BkCatalog *catalog)
{
  BkRepositoryRegistry *registry = g_new0 (BkRepositoryRegistry, 1);
  registry->catalog = catalog;
  registry->cancellable = g_cancellable_new ();
  registry->repositories = g_ptr_array_new_with_free_func (repository_free);
  return registry;
}

void
bk_repository_registry_free (BkRepositoryRegistry *registry)
{
  g_cancellable_cancel (registry->cancellable);
  while (registry->examinations > 0)
    g_main_context_iteration (NULL, TRUE);
  g_object_unref (registry->cancellable);
  g_ptr_array_unref (registry->repositories);
  g_free (registry->state_dir);
  g_free (registry);
}

/* --- taking over what is on disk --- */

/* What the catalog knows: backup ID to repository name. */
static GHashTable *
known_backups (BkCatalog *catalog, GError **error)
{
  g_autoptr (GPtrArray) rows = bk_catalog_list_backups (catalog, NULL, NULL, error);
  if (rows == NULL)
    return NULL;
  GHashTable *known = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  for (unsigned i = 0; i < rows->len; i++) {
    const BkBackupInfo *row = rows->pdata[i];
    g_hash_table_insert (known, g_strdup (row->id), g_strdup (row->repository ? row->repository : ""));
  }
  return known;
}

static gboolean
import_backup (BkRepositoryRegistry *registry, Repository *repository, BkBackupInfo *backup, GError **error)
{
  g_free (backup->repository);
  backup->repository = g_strdup (repository->kept->name);
  g_free (backup->location);
  backup->location = bk_store_location (repository->store, backup->vm, backup->id);
  g_message ("repository '%s': backup '%s' of VM '%s' was found there", repository->kept->name, backup->id, backup->vm);
  return bk_catalog_put_backup (registry->catalog, backup, error);
}

/* A row whose folder has gone stays: a file system that is mounted late would cost all rows else. */
static void
report_missing (BkRepositoryRegistry *registry, Repository *repository, GPtrArray *found)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GHashTable) there = g_hash_table_new (g_str_hash, g_str_equal);
  g_autoptr (GPtrArray) rows = bk_catalog_list_backups (registry->catalog, NULL, repository->kept->name, &error);
  for (unsigned i = 0; i < found->len; i++)
    g_hash_table_add (there, ((BkBackupInfo *)found->pdata[i])->id);
  for (unsigned i = 0; rows && i < rows->len; i++) {
    const BkBackupInfo *row = rows->pdata[i];
    if (!g_hash_table_contains (there, row->id))
      g_warning ("repository '%s': backup '%s' is in the catalog, but not in '%s'", repository->kept->name, row->id,
                 repository->kept->path);
  }
}

static gboolean
import (BkRepositoryRegistry *registry, Repository *repository, GError **error)
{
  g_autoptr (GHashTable) known = known_backups (registry->catalog, error);
  if (known == NULL)
    return FALSE;
  g_autoptr (GPtrArray) found = bk_store_list (repository->store, error);
  if (found == NULL)
    return FALSE;
  for (unsigned i = 0; i < found->len; i++) {
    BkBackupInfo *backup = found->pdata[i];
    const char *where = g_hash_table_lookup (known, backup->id);
    if (where && strcmp (where, repository->kept->name) != 0)
      g_warning ("repository '%s': backup '%s' is left out, as there is one of that ID in '%s'", repository->kept->name,
                 backup->id, where);
    if (where == NULL && !import_backup (registry, repository, backup, error))
      return FALSE;
  }
  report_missing (registry, repository, found);
  return TRUE;
}

/* --- reaching it --- */

static void
set_failure (Repository *repository, const GError *failure)
{
  g_free (repository->reason);
  repository->reason = failure ? g_strdup (failure->message) : NULL;
  repository->locked = g_error_matches (failure, BK_ERROR, BK_ERROR_DENIED);
}

static gboolean
open_store (BkRepositoryRegistry *registry, Repository *repository, GError **error)
{
  g_autoptr (GError) local = NULL;
  repository->store = bk_store_open (repository->kept, &local);
  if (repository->store && import (registry, repository, &local)) {
    set_failure (repository, NULL);
    return TRUE;
  }
  g_clear_pointer (&repository->store, bk_store_unref);
  set_failure (repository, local);
  g_propagate_error (error, g_steal_pointer (&local));
  return FALSE;
}

/* --- paths --- */

/* Without links, as far as @path exists. (transfer full) */
static char *
resolve (const char *path)
{
  g_autofree char *known = g_canonicalize_filename (path, NULL);
  g_autofree char *rest = g_strdup ("");
  for (;;) {
    char *real = realpath (known, NULL);
    if (real || strcmp (known, "/") == 0) {
      char *resolved = g_build_filename (real ? real : "/", rest, NULL);
      free (real);
      return resolved;
    }
    g_autofree char *name = g_path_get_basename (known);
    g_autofree char *longer = g_build_filename (name, rest, NULL);
    g_autofree char *parent = g_path_get_dirname (known);
    g_free (g_steal_pointer (&rest));
    g_free (g_steal_pointer (&known));
    rest = g_steal_pointer (&longer);
    known = g_steal_pointer (&parent);
  }
}

static bool
is_within (const char *resolved, const char *folder)
{
  g_autofree char *real = resolve (folder);
  size_t length = strlen (real);
  return strncmp (resolved, real, length) == 0 && (resolved[length] == '/' || resolved[length] == '\0' || length == 1);
}

/* --- the registry --- */

static int
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp ((*(Repository *const *)a)->kept->name, (*(Repository *const *)b)->kept->name);
}

static Repository *
enroll (BkRepositoryRegistry *registry, const BkRepositoryInfo *kept)
{
  Repository *repository = g_new0 (Repository, 1);
  repository->kept = bk_struct_copy (&bk_repository_info_struct, kept);
  g_ptr_array_add (registry->repositories, repository);
  g_ptr_array_sort (registry->repositories, compare_names);
  return repository;
}

static gboolean
add_default (BkRepositoryRegistry *registry, const char *state_dir, GError **error)
{
  g_autoptr (BkRepositoryInfo) request = g_new0 (BkRepositoryInfo, 1);
  g_autofree char *absolute = g_canonicalize_filename (state_dir, NULL);
  request->name = g_strdup ("default");
  request->path = g_build_filename (absolute, "default", NULL);
  return bk_repository_registry_add (registry, request, error);
}

gboolean
bk_repository_registry_load (BkRepositoryRegistry *registry, const char *state_dir, GError **error)
{
  g_autoptr (GPtrArray) rows = bk_catalog_list_repositories (registry->catalog, error);
  if (rows == NULL)
    return FALSE;
  g_free (registry->state_dir);
  registry->state_dir = g_canonicalize_filename (state_dir, NULL);
  for (unsigned i = 0; i < rows->len; i++) {
    g_autoptr (GError) local = NULL;
    Repository *repository = enroll (registry, rows->pdata[i]);
    if (!open_store (registry, repository, &local))
      g_warning ("repository '%s' cannot be used now: %s", repository->kept->name, local->message);
  }
  return rows->len > 0 || add_default (registry, state_dir, error);
}

static gboolean
check_fields (const BkRepositoryInfo *request, GError **error)
{
  if (!bk_name_is_valid (request->name)) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID,
                 "/name: must be 1 to 64 letters, digits, '.', '_' and '-', the first a letter or digit");
    return FALSE;
  }
  if (!g_path_is_absolute (request->path)) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/path: must be an absolute path");
    return FALSE;
  }
  return TRUE;
}

static gboolean
check_apart (const BkRepositoryInfo *other, const char *path, GError **error)
{
  g_autofree char *mine = resolve (path);
  g_autofree char *theirs = resolve (other->path);
  if (strcmp (mine, theirs) == 0)
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "repository '%s' is in that folder already", other->name);
  else if (is_within (mine, other->path))
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "'%s' is inside the repository '%s'; name another folder", path, other->name);
  else
    return TRUE;
  return FALSE;
}

/* Two names for one folder would each take the other's backups for debris. */
static gboolean
check_unique (BkRepositoryRegistry *registry, const char *name, const char *path, GError **error)
{
  for (unsigned i = 0; i < registry->repositories->len; i++) {
    const BkRepositoryInfo *other = ((Repository *)registry->repositories->pdata[i])->kept;
    if (strcmp (other->name, name) == 0) {
      g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "there is a repository '%s' already", name);
      return FALSE;
    }
    if (!check_apart (other, path, error))
      return FALSE;
  }
  return TRUE;
}

gboolean
bk_repository_registry_add (BkRepositoryRegistry *registry, const BkRepositoryInfo *request, GError **error)
{
  if (!check_fields (request, error))
    return FALSE;
  g_autofree char *path = g_canonicalize_filename (request->path, NULL);
  if (!check_unique (registry, request->name, path, error))
    return FALSE;
  g_autoptr (BkRepositoryInfo) kept = g_new0 (BkRepositoryInfo, 1);
  kept->name = g_strdup (request->name);
  kept->type = g_strdup (request->type ? request->type : bk_store_guess_type (path));
  kept->path = g_steal_pointer (&path);
  kept->chunk_size = request->chunk_size;
  kept->class_chunk_sizes = g_ptr_array_new ();
  for (unsigned i = 0; request->class_chunk_sizes && i < request->class_chunk_sizes->len; i++)
    g_ptr_array_add (kept->class_chunk_sizes, bk_struct_copy (&bk_class_chunk_size_struct, request->class_chunk_sizes->pdata[i]));
  kept->compression = request->compression;
  kept->passphrase_file = g_strdup (request->passphrase_file);
  kept->key_file = g_strdup (request->key_file);
  kept->created_at = g_get_real_time ();
  if (!bk_store_check (kept, error) || !bk_store_make (kept, error))
    return FALSE;
  if (!bk_catalog_add_repository (registry->catalog, kept, error))
    return FALSE;
  if (open_store (registry, enroll (registry, kept), error))
    return TRUE;
  /* What could not be taken over whole is not there at all, or adding it again would be a conflict. */
  if (!bk_repository_registry_remove (registry, kept->name, NULL))
    g_warning ("repository '%s' was added in part only; remove it", kept->name);
  return FALSE;
}

static Repository *
find_or_fail (BkRepositoryRegistry *registry, const char *name, GError **error)
{
  g_autoptr (GString) known = g_string_new (NULL);
  for (unsigned i = 0; i < registry->repositories->len; i++) {
    Repository *repository = registry->repositories->pdata[i];
    if (strcmp (repository->kept->name, name) == 0)
      return repository;
    g_string_append_printf (known, "%s%s", i ? ", " : "", repository->kept->name);
  }
  g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "no repository '%s'; there is %s", name,
               known->len ? known->str : "none");
  return NULL;
}

/* What was not listed, as there was one of that ID elsewhere, may be listed now. */
static void
find_copies (BkRepositoryRegistry *registry)
{
  for (unsigned i = 0; i < registry->repositories->len; i++) {
    Repository *repository = registry->repositories->pdata[i];
    g_autoptr (GError) error = NULL;
    if (repository->store && !import (registry, repository, &error))
      g_warning ("repository '%s': %s", repository->kept->name, error->message);
  }
}

gboolean
bk_repository_registry_remove (BkRepositoryRegistry *registry, const char *name, GError **error)
{
  Repository *repository = find_or_fail (registry, name, error);
  if (repository == NULL || !bk_catalog_remove_repository (registry->catalog, name, error))
    return FALSE;
  g_ptr_array_remove (registry->repositories, repository);
  find_copies (registry);
  return TRUE;
}

/* Counts by the catalog: a walk over all images would hold up the main loop. */
static void
count_backups (BkRepositoryRegistry *registry, BkRepositoryInfo *info)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) rows = bk_catalog_list_backups (registry->catalog, NULL, info->name, &error);
  if (rows == NULL) {
    g_warning ("the backups of repository '%s' cannot be counted: %s", info->name, error->message);
    return;
  }
  info->backups = rows->len;
  for (unsigned i = 0; i < rows->len; i++)
    info->bytes_stored += ((BkBackupInfo *)rows->pdata[i])->bytes_stored;
}

static BkRepositoryInfo *
repository_info (BkRepositoryRegistry *registry, Repository *repository)
{
  g_autoptr (GError) error = NULL;
  BkRepositoryInfo *info = bk_struct_copy (&bk_repository_info_struct, repository->kept);
  count_backups (registry, info);
  bool reached = bk_store_is_there (repository->kept) && bk_fsio_free_space (info->path, &info->bytes_free, &error);
  bool locked = reached && repository->locked;
  info->state = g_strdup (locked ? "locked" : reached ? "ok" : "unreachable");
  if (reached && repository->store)
    bk_store_describe (repository->store, info);
  if (reached && !locked)
    return info;
  if (error)
    info->reason = g_strdup (error->message);
  else if (repository->reason)
    info->reason = g_strdup (repository->reason);
  else
    info->reason = g_strdup_printf ("'%s' is not there; is its file system mounted?", info->path);
  return info;
}

GPtrArray *
bk_repository_registry_list (BkRepositoryRegistry *registry)
{
  GPtrArray *infos = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_repository_info_free);
  for (unsigned i = 0; i < registry->repositories->len; i++)
    g_ptr_array_add (infos, repository_info (registry, registry->repositories->pdata[i]));
  return infos;
}

BkRepositoryInfo *
bk_repository_registry_info (BkRepositoryRegistry *registry, const char *name, GError **error)
{
  Repository *repository = find_or_fail (registry, name, error);
  return repository ? repository_info (registry, repository) : NULL;
}

/* --- what takes a walk --- */

typedef struct {
  BkRepositoryRegistry *registry;
  char *name;
  BkStore *store;
  BkRepositoryStats stats;
  gboolean known;
  GTask *task;
} Examination;

static void
examine_work (gpointer user_data)
{
  Examination *self = user_data;
  g_autoptr (GError) error = NULL;
  self->known = bk_repository_stats (bk_store_repository (self->store), self->registry->cancellable, &self->stats, &error);
  if (!self->known) /* a gc runs, or it has just gone: then they are not told */
    g_message ("repository '%s' cannot be measured now: %s", self->name, error->message);
}

static void
add_stats (BkRepositoryInfo *info, const BkRepositoryStats *stats)
{
  info->backups = stats->backups;
  info->trash = stats->trashed;
  info->packs = stats->packs;
  info->chunks = stats->chunks;
  info->bytes_logical = stats->bytes_data;
  info->bytes_unique = stats->bytes_unique;
  info->bytes_stored = stats->bytes_stored;
  info->bytes_reclaimable = stats->bytes_garbage;
}

/* When the last of its backups was verified that is not younger than another's verification; never, when one was not. */
static int64_t
verified_at (BkRepositoryRegistry *registry, const char *name)
{
  g_autoptr (GPtrArray) rows = bk_catalog_list_backups (registry->catalog, NULL, name, NULL);
  int64_t oldest = rows && rows->len > 0 ? G_MAXINT64 : 0;
  for (unsigned i = 0; rows && i < rows->len; i++)
    oldest = MIN (oldest, ((const BkBackupInfo *)rows->pdata[i])->verified_at);
  return oldest;
}

static void
examine_done (gpointer user_data)
{
  Examination *self = user_data;
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRepositoryInfo) info = bk_repository_registry_info (self->registry, self->name, &error);
  if (info && self->known)
    add_stats (info, &self->stats);
  if (info)
    info->verified_at = verified_at (self->registry, self->name);
  if (info)
    g_task_return_pointer (self->task, g_steal_pointer (&info), (GDestroyNotify)bk_repository_info_free);
  else
    g_task_return_error (self->task, g_steal_pointer (&error));
  self->registry->examinations--;
  g_free (self->name);
  g_clear_pointer (&self->store, bk_store_unref);
  g_object_unref (self->task);
  g_free (self);
}

void
bk_repository_registry_examine_async (BkRepositoryRegistry *registry, const char *name, GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr (BkStore) store = bk_repository_registry_open (registry, name, NULL);
  Examination *self = g_new0 (Examination, 1);
  self->registry = registry;
  self->name = g_strdup (name);
  self->task = g_task_new (NULL, NULL, callback, user_data);
  registry->examinations++;
  if (store && bk_store_is_dedup (store)) {
    self->store = g_steal_pointer (&store);
    bk_background_run (examine_work, examine_done, self);
    return;
  }
  examine_done (self);
}

BkRepositoryInfo *
bk_repository_registry_examine_finish (BkRepositoryRegistry *registry G_GNUC_UNUSED, GAsyncResult *result, GError **error)
{
  return g_task_propagate_pointer (G_TASK (result), error);
}

/* --- using it --- */

void
bk_repository_registry_replace_backup (BkRepositoryRegistry *registry, const char *vm, const char *backup)
{
  for (unsigned i = 0; i < registry->repositories->len; i++) {
    Repository *repository = registry->repositories->pdata[i];
    g_autoptr (GError) error = NULL;
    if (repository->store && bk_store_has (repository->store, vm, backup) && !import (registry, repository, &error))
      g_warning ("repository '%s': %s", repository->kept->name, error->message);
  }
}

BkStore *
bk_repository_registry_open (BkRepositoryRegistry *registry, const char *name, GError **error)
{
  Repository *repository = find_or_fail (registry, name ? name : "default", error);
  g_autoptr (GError) local = NULL;
  if (repository == NULL)
    return NULL;
  if (bk_store_is_there (repository->kept) && (repository->store || open_store (registry, repository, &local)))
    return bk_store_ref (repository->store);
  if (g_error_matches (local, BK_ERROR, BK_ERROR_DENIED)) {
    g_set_error (error, BK_ERROR, BK_ERROR_DENIED, "repository '%s' is locked: %s", repository->kept->name, local->message);
    return NULL;
  }
  g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "repository '%s' cannot be reached: %s", repository->kept->name,
               local ? local->message : "its folder is not there; is its file system mounted?");
  return NULL;
}

/* --- keeping others out --- */

gboolean
bk_repository_registry_check_outside (BkRepositoryRegistry *registry, const char *path, GError **error)
{
  g_autofree char *resolved = resolve (path);
  for (unsigned i = 0; i < registry->repositories->len; i++) {
    const BkRepositoryInfo *repository = ((Repository *)registry->repositories->pdata[i])->kept;
    if (!is_within (resolved, repository->path))
      continue;
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s' is inside the repository '%s', which is for backups alone; name another place",
                 path, repository->name);
    return FALSE;
  }
  if (registry->state_dir == NULL || !is_within (resolved, registry->state_dir))
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s' is inside the state directory '%s' of backupd; name another place", path,
               registry->state_dir);
  return FALSE;
}
