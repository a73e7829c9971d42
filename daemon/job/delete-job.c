/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "delete-job.h"

#include "archive.h"
#include "checkpoint-fold.h"
#include "checkpoint-forget.h"

#include <string.h>

typedef struct {
  BkStore *store; /* NULL: a target of its own */
  BkVm *vm;
  BkBackupInfo *backup;
  GStrv children;   /* found on the main thread when the job starts */
  GPtrArray *folds; /* BkFold; likewise */
  bool keeps_checkpoint;
  bool folded;
  double fraction;  /* of the detach; written by the worker */
} Delete;

gpointer
bk_delete_job_data_new (BkStore *store, BkVm *vm, const BkBackupInfo *backup)
{
  Delete *self = g_new0 (Delete, 1);
  self->store = store ? bk_store_ref (store) : NULL;
  self->vm = vm ? bk_vm_ref (vm) : NULL;
  self->backup = bk_struct_copy (&bk_backup_info_struct, backup);
  return self;
}

static void
delete_free (gpointer data)
{
  Delete *self = data;
  g_clear_pointer (&self->store, bk_store_unref);
  g_clear_pointer (&self->vm, bk_vm_unref);
  bk_backup_info_free (self->backup);
  g_strfreev (self->children);
  g_clear_pointer (&self->folds, g_ptr_array_unref);
  g_free (self);
}

/* --- plan: who stands on it, and what its checkpoint means --- */

/* A checkpoint has the ID of the backup that it was made with, and serves the copies of that, too. */
static const char *
checkpoint_of (const Delete *self)
{
  return self->backup->copy_of ? self->backup->copy_of : self->backup->id;
}

/* Whether another backup holds the same, so that increments can go on standing on that. */
static bool
has_twin (const Delete *self, GPtrArray *backups)
{
  const char *origin = checkpoint_of (self);
  for (unsigned i = 0; i < backups->len; i++) {
    const BkBackupInfo *other = backups->pdata[i];
    if (strcmp (other->id, self->backup->id) != 0 && (strcmp (other->id, origin) == 0 || g_strcmp0 (other->copy_of, origin) == 0))
      return true;
  }
  return false;
}

static gboolean
record_plan (BkJob *job, gpointer data, GError **error)
{
  Delete *self = data;
  BkCatalog *catalog = bk_job_catalog (job);
  g_autoptr (GPtrArray) checkpoints = bk_catalog_list_checkpoints (catalog, self->backup->vm, error);
  g_autoptr (GPtrArray) backups = checkpoints ? bk_catalog_list_backups (catalog, self->backup->vm, NULL, error) : NULL;
  if (backups == NULL)
    return FALSE;
  self->keeps_checkpoint = has_twin (self, backups);
  self->folds = bk_checkpoint_folds (checkpoints, checkpoint_of (self));
  self->children = bk_catalog_children_of_backup (catalog, self->backup->id, error);
  return self->children != NULL;
}

/* --- detach --- */

static void
on_progress (double fraction, gpointer user_data)
{
  Delete *self = user_data;
  __atomic_store (&self->fraction, &fraction, __ATOMIC_RELAXED);
}

static gboolean
work_detach (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable, GError **error)
{
  Delete *self = data;
  for (size_t i = 0; self->store && self->children[i]; i++) {
    if (!bk_archive_detach (bk_store_archive (self->store), self->backup->vm, self->backup->id, self->children[i], on_progress, self, cancellable, error)) {
      g_prefix_error (error, "backup %s: ", self->children[i]);
      return FALSE;
    }
  }
  return TRUE;
}

/* The children's manifests have changed: the catalog follows. */
static gboolean
record_detach (BkJob *job, gpointer data, GError **error)
{
  Delete *self = data;
  for (size_t i = 0; self->store && self->children[i]; i++) {
    g_autoptr (BkBackupInfo) child = bk_store_read (self->store, self->backup->vm, self->children[i], error);
    if (child == NULL)
      return FALSE;
    g_free (child->repository);
    child->repository = g_strdup (self->backup->repository);
    if (!bk_catalog_put_backup (bk_job_catalog (job), child, error))
      return FALSE;
  }
  return TRUE;
}

/* --- checkpoint --- */

static gboolean
work_fold (BkJob *job, gpointer data, GCancellable *cancellable G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
  Delete *self = data;
  g_autoptr (GError) failure = NULL;
  if (self->keeps_checkpoint)
    return TRUE;
  for (unsigned i = 0; self->vm && i < self->folds->len; i++) {
    BkFold *fold = self->folds->pdata[i];
    if (!bk_backend_checkpoint_delete (bk_vm_backend (self->vm), fold->disk, fold->bitmap, fold->parent, fold->newest, &fold->merged, &failure)) {
      g_message ("job %s: checkpoint '%s' stays: %s", bk_job_id (job), checkpoint_of (self), failure->message);
      return TRUE;
    }
  }
  self->folded = true;
  return TRUE;
}

static gboolean
record_fold (BkJob *job, gpointer data, GError **error)
{
  Delete *self = data;
  return !self->folded || bk_checkpoint_forget (bk_job_catalog (job), self->backup->vm, checkpoint_of (self), self->folds, error);
}

/* --- remove --- */

static gboolean
work_remove (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  Delete *self = data;
  g_autoptr (GError) failure = NULL;
  if (self->store == NULL || bk_store_remove (self->store, self->backup->vm, self->backup->id, &failure) ||
      g_error_matches (failure, BK_ERROR, BK_ERROR_NOT_FOUND))
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&failure));
  return FALSE;
}

static void
progress (BkJob *job, gpointer data)
{
  Delete *self = data;
  BkJobInfo *info = bk_job_info (job);
  double fraction = 0;
  __atomic_load (&self->fraction, &fraction, __ATOMIC_RELAXED);
  info->bytes_total = self->backup->bytes_stored;
  info->bytes_transferred = (uint64_t)((double)self->backup->bytes_stored * fraction);
}

static gboolean
record_remove (BkJob *job, gpointer data, GError **error)
{
  Delete *self = data;
  self->fraction = 1;
  progress (job, data);
  bk_event_ring_publish (bk_job_events (job), "backup", self->backup->vm, bk_job_id (job), json_object_new_object ());
  return bk_catalog_remove_backup (bk_job_catalog (job), self->backup->id, error);
}

static const BkStep steps[] = {
  { "plan", "preparing", NULL, record_plan, NULL },
  { "detach", "running", work_detach, record_detach, NULL },
  { "checkpoint", "finalizing", work_fold, record_fold, NULL },
  { "remove", "finalizing", work_remove, record_remove, NULL },
  { NULL },
};

/* After a restart it begins again with "plan": every step may be repeated. */
const BkJobKind bk_delete_job_kind = {
  .name = "delete",
  .steps = steps,
  .restart = true,
  .verbs = 1 << BK_VERB_CANCEL,
  .progress = progress,
  .free = delete_free,
};
