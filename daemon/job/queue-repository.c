/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "queue-private.h"

#include "copy-job.h"
#include "gc-job.h"
#include "repository.h"
#include "verify-job.h"

#include <string.h>

/* A verify reads packs that a gc would take away; several may read at once. */
static void
claim_packs (BkClaims *claims, const char *repository, bool exclusive)
{
  bk_claims_add_waiting (claims, exclusive, "packs of repository '%s'", repository);
}

/* Of type dedup, or INVALID. (transfer full) */
static BkStore *
open_dedup (BkQueue *queue, const char *name, const char *what, GError **error)
{
  g_autoptr (BkStore) store = bk_repository_registry_open (queue->repositories, name, error);
  if (store == NULL || bk_store_is_dedup (store))
    return g_steal_pointer (&store);
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "repository '%s' is of type qcow2: %s goes with type dedup only", name ? name : "default", what);
  return NULL;
}

static BkStore *
open_dedup_of (BkQueue *queue, const BkBackupInfo *backup, const char *what, GError **error)
{
  if (backup->repository)
    return open_dedup (queue, backup->repository, what, error);
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "backup '%s' went to a target of its own: %s goes with a repository of type dedup only",
               backup->id, what);
  return NULL;
}

/* --- verify --- */

static gboolean
check_one_named (const BkVerifyRequest *request, GError **error)
{
  if ((request->backup == NULL) != (request->repository == NULL))
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "name a backup or a repository to verify%s", request->backup ? ", not both" : "");
  return FALSE;
}

gpointer
bk_queue_verify_data (BkQueue *queue, const BkVerifyRequest *request, BkBackupInfo **backup, BkClaims **claims, GError **error)
{
  g_autoptr (BkBackupInfo) found = NULL;
  if (!check_one_named (request, error) ||
      (request->backup && (found = bk_catalog_get_backup (queue->catalog, request->backup, error)) == NULL))
    return NULL;
  g_autoptr (BkStore) store = found ? open_dedup_of (queue, found, "verify", error) : open_dedup (queue, request->repository, "verify", error);
  if (store == NULL)
    return NULL;
  const char *repository = found ? found->repository : request->repository;
  *claims = bk_claims_new ();
  claim_packs (*claims, repository, false);
  gpointer data = bk_verify_job_data_new (store, repository, found, request->speed);
  *backup = g_steal_pointer (&found);
  return data;
}

/* Names what the job is about, as far as it is about one. */
static void
set_subject (BkJobRecord *record, const BkBackupInfo *backup, const char *repository)
{
  record->info->repository = g_strdup (repository ? repository : "default");
  record->info->backup_id = backup ? g_strdup (backup->id) : NULL;
}

BkJobInfo *
bk_queue_submit_verify (BkQueue *queue, const BkVerifyRequest *request, GError **error)
{
  g_autoptr (BkBackupInfo) backup = NULL;
  BkClaims *claims = NULL;
  if (!bk_queue_check_new_id (queue, request->id, error))
    return NULL;
  gpointer data = bk_queue_verify_data (queue, request, &backup, &claims, error);
  if (data == NULL)
    return NULL;
  BkJobRecord *record = bk_queue_record_new (request->id, "verify", backup ? backup->vm : NULL, bk_struct_to_json (&bk_verify_request_struct, request));
  set_subject (record, backup, backup ? backup->repository : request->repository);
  record->info->speed = request->speed;
  return bk_queue_admit (queue, record, &bk_verify_job_kind, data, claims, error);
}

/* --- gc --- */

gpointer
bk_queue_gc_data (BkQueue *queue, const BkGcRequest *request, BkClaims **claims, GError **error)
{
  g_autoptr (BkStore) store = open_dedup (queue, request->repository, "gc", error);
  if (store == NULL)
    return NULL;
  *claims = bk_claims_new ();
  claim_packs (*claims, request->repository ? request->repository : "default", true);
  return bk_gc_job_data_new (store, queue->trash_seconds, request->dry_run);
}

BkJobInfo *
bk_queue_submit_gc (BkQueue *queue, const BkGcRequest *request, GError **error)
{
  BkClaims *claims = NULL;
  if (!bk_queue_check_new_id (queue, request->id, error))
    return NULL;
  gpointer data = bk_queue_gc_data (queue, request, &claims, error);
  if (data == NULL)
    return NULL;
  BkJobRecord *record = bk_queue_record_new (request->id, "gc", NULL, bk_struct_to_json (&bk_gc_request_struct, request));
  set_subject (record, NULL, request->repository);
  return bk_queue_admit (queue, record, &bk_gc_job_kind, data, claims, error);
}

/* --- copy --- */

/* A copy and its original, and two copies of one, hold the same. */
static const char *
origin_of (const BkBackupInfo *backup)
{
  return backup->copy_of ? backup->copy_of : backup->id;
}

static const BkBackupInfo *
find_of_origin (GPtrArray *backups, const char *origin)
{
  for (unsigned i = 0; i < backups->len; i++)
    if (strcmp (origin_of (backups->pdata[i]), origin) == 0)
      return backups->pdata[i];
  return NULL;
}

/* The other backups of the VM that both repositories have, newest first. */
static GPtrArray *
find_pairs (BkQueue *queue, const BkBackupInfo *backup, const char *to, GError **error)
{
  g_autoptr (GPtrArray) here = bk_catalog_list_backups (queue->catalog, backup->vm, backup->repository, error);
  g_autoptr (GPtrArray) there = here ? bk_catalog_list_backups (queue->catalog, backup->vm, to, error) : NULL;
  if (there == NULL)
    return NULL;
  GPtrArray *pairs = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_copy_pair_free);
  for (unsigned i = here->len; i-- > 0;) {
    const BkBackupInfo *other = here->pdata[i];
    const BkBackupInfo *twin = strcmp (other->id, backup->id) == 0 ? NULL : find_of_origin (there, origin_of (other));
    if (twin == NULL)
      continue;
    BkCopyPair *pair = g_new0 (BkCopyPair, 1);
    pair->here = g_strdup (other->id);
    pair->there = g_strdup (twin->id);
    g_ptr_array_add (pairs, pair);
  }
  return pairs;
}

gpointer
bk_queue_copy_data (BkQueue *queue, const BkCopyRequest *request, const char *id, BkBackupInfo **backup, BkClaims **claims, GError **error)
{
  g_autoptr (BkBackupInfo) found = bk_catalog_get_backup (queue->catalog, request->backup, error);
  g_autoptr (BkStore) from = found ? open_dedup_of (queue, found, "copy", error) : NULL;
  g_autoptr (BkStore) to = from ? open_dedup (queue, request->to, "copy", error) : NULL;
  if (to == NULL)
    return NULL;
  if (strcmp (found->repository, request->to) == 0) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/to: backup '%s' is in repository '%s'; name another", found->id, request->to);
    return NULL;
  }
  GPtrArray *pairs = find_pairs (queue, found, request->to, error);
  if (pairs == NULL)
    return NULL;
  *claims = bk_claims_new ();
  bk_claims_add_refusing (*claims, "copy of backup '%s' in repository '%s'", origin_of (found), request->to);
  bk_claims_add_waiting (*claims, false, "chain of VM '%s'", found->vm);
  gpointer data = bk_copy_job_data_new (from, to, request->to, found, pairs, id);
  *backup = g_steal_pointer (&found);
  return data;
}

/* Neither the original, nor a copy of it. One in the trash does not count: it may go any time. */
static gboolean
check_not_there (BkQueue *queue, const BkCopyRequest *request, const BkBackupInfo *backup, GError **error)
{
  g_autoptr (GPtrArray) there = bk_catalog_list_backups (queue->catalog, backup->vm, request->to, error);
  const BkBackupInfo *twin = there ? find_of_origin (there, origin_of (backup)) : NULL;
  if (there && twin == NULL)
    return TRUE;
  if (twin && twin->copy_of)
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "repository '%s' has a copy of backup '%s' already: '%s'", request->to, twin->copy_of, twin->id);
  else if (twin)
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "repository '%s' has backup '%s' already, of which '%s' is a copy", request->to, twin->id, backup->id);
  return FALSE;
}

BkJobInfo *
bk_queue_submit_copy (BkQueue *queue, const BkCopyRequest *request, GError **error)
{
  g_autoptr (BkBackupInfo) backup = NULL;
  BkClaims *claims = NULL;
  if (!bk_queue_check_new_id (queue, request->id, error))
    return NULL;
  BkJobRecord *record = bk_queue_record_new (request->id, "copy", NULL, bk_struct_to_json (&bk_copy_request_struct, request));
  /* One ID for job and copy, as for a backup. */
  gpointer data = bk_queue_copy_data (queue, request, request->id ? NULL : record->info->id, &backup, &claims, error);
  if (data == NULL || !check_not_there (queue, request, backup, error)) {
    g_clear_pointer (&data, bk_copy_job_kind.free);
    g_clear_pointer (&claims, bk_claims_free);
    bk_job_record_free (record);
    return NULL;
  }
  record->info->vm = g_strdup (backup->vm);
  record->info->repository = g_strdup (request->to);
  record->info->backup_id = g_strdup (bk_copy_job_id (data));
  record->info->speed = request->speed;
  record->info->disks = bk_copy_job_disks (data);
  return bk_queue_admit (queue, record, &bk_copy_job_kind, data, claims, error);
}

/* --- pins and the trash --- */

static void
publish (BkQueue *queue, const BkBackupInfo *backup)
{
  bk_event_ring_publish (queue->events, "backup", backup->vm, NULL, bk_struct_to_json (&bk_backup_info_struct, backup));
}

BkBackupInfo *
bk_queue_pin_backup (BkQueue *queue, const char *id, bool pinned, GError **error)
{
  g_autoptr (BkBackupInfo) backup = bk_catalog_get_backup (queue->catalog, id, error);
  g_autoptr (BkStore) store = backup ? open_dedup_of (queue, backup, pinned ? "pin" : "unpin", error) : NULL;
  g_autoptr (BkClaims) claims = bk_claims_new ();
  if (store == NULL)
    return NULL;
  bk_claims_add_refusing (claims, "backup '%s'", backup->id);
  if (!bk_queue_check_claims (queue, claims, error) ||
      !bk_repository_pin (bk_store_repository (store), backup->vm, backup->id, pinned, error))
    return NULL;
  backup->pinned = pinned;
  if (!bk_catalog_put_backup (queue->catalog, backup, error))
    return NULL;
  publish (queue, backup);
  return g_steal_pointer (&backup);
}

/* As its owner sees it: (transfer full), NULL when its manifest cannot be read. */
static BkBackupInfo *
describe_trash (const BkRepositoryTrash *trash, const char *repository)
{
  BkBackupInfo *info = trash->info ? bk_struct_copy (&bk_backup_info_struct, trash->info) : NULL;
  if (info == NULL)
    return NULL;
  g_free (info->repository);
  info->repository = g_strdup (repository);
  info->deleted_at = trash->deleted_at;
  return info;
}

/* One that cannot be reached has no trash that can be seen. */
static void
add_trash_of (BkQueue *queue, const BkRepositoryInfo *repository, const char *vm, GPtrArray *found)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkStore) store = bk_repository_registry_open (queue->repositories, repository->name, &error);
  g_autoptr (GPtrArray) trash = store && bk_store_is_dedup (store) ? bk_repository_list_trash (bk_store_repository (store), &error) : NULL;
  if (error)
    g_warning ("the trash of repository '%s' cannot be read: %s", repository->name, error->message);
  for (unsigned i = 0; trash && i < trash->len; i++) {
    const BkRepositoryTrash *row = trash->pdata[i];
    BkBackupInfo *info = vm == NULL || strcmp (row->vm, vm) == 0 ? describe_trash (row, repository->name) : NULL;
    if (info)
      g_ptr_array_add (found, info);
  }
}

static int
compare_deletions (gconstpointer a, gconstpointer b)
{
  int64_t first = (*(const BkBackupInfo *const *)a)->deleted_at, second = (*(const BkBackupInfo *const *)b)->deleted_at;
  return (first > second) - (first < second);
}

GPtrArray *
bk_queue_list_trash (BkQueue *queue, const char *vm, GError **error G_GNUC_UNUSED)
{
  g_autoptr (GPtrArray) repositories = bk_repository_registry_list (queue->repositories);
  GPtrArray *found = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_backup_info_free);
  for (unsigned i = 0; i < repositories->len; i++) {
    const BkRepositoryInfo *repository = repositories->pdata[i];
    if (g_strcmp0 (repository->type, "dedup") == 0 && g_strcmp0 (repository->state, "ok") == 0)
      add_trash_of (queue, repository, vm, found);
  }
  g_ptr_array_sort (found, compare_deletions);
  return found;
}

static const BkBackupInfo *
find_in_trash (GPtrArray *trash, const char *prefix, GError **error)
{
  const BkBackupInfo *found = NULL;
  for (unsigned i = 0; i < trash->len; i++) {
    const BkBackupInfo *row = trash->pdata[i];
    if (strcmp (row->id, prefix) == 0)
      return row;
    if (!g_str_has_prefix (row->id, prefix))
      continue;
    if (found) {
      g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s' is ambiguous in the trash: %s, %s", prefix, found->id, row->id);
      return NULL;
    }
    found = row;
  }
  if (found == NULL)
    g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "no backup '%s' is in the trash; it keeps backups until gc takes them for good", prefix);
  return found;
}

BkBackupInfo *
bk_queue_undelete_backup (BkQueue *queue, const char *id, GError **error)
{
  g_autoptr (GPtrArray) trash = bk_queue_list_trash (queue, NULL, error);
  const BkBackupInfo *found = trash ? find_in_trash (trash, id, error) : NULL;
  g_autoptr (BkStore) store = found ? bk_repository_registry_open (queue->repositories, found->repository, error) : NULL;
  if (store == NULL || !bk_repository_undelete (bk_store_repository (store), found->vm, found->id, error))
    return NULL;
  g_autoptr (BkBackupInfo) backup = bk_store_read (store, found->vm, found->id, error);
  if (backup == NULL)
    return NULL;
  g_free (backup->repository);
  backup->repository = g_strdup (found->repository);
  if (!bk_catalog_put_backup (queue->catalog, backup, error))
    return NULL;
  publish (queue, backup);
  return g_steal_pointer (&backup);
}
