/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Checkpoints without a backup: made and deleted at once, not as jobs, for they take milliseconds. They claim
 * their disks like a job does.
 */
#include "queue-private.h"

#include "checkpoint-fold.h"
#include "checkpoint-forget.h"
#include "plan.h"
#include "ulid.h"
#include "background.h"

#include <string.h>

typedef struct {
  BkQueue *queue;
  GTask *task;
  BkVm *vm;
  BkClaims *claims;
  BkCheckpointRequest *request;
  BkVmState *state;
  BkRun *run;
  BkCheckpointInfo *checkpoint;
  GPtrArray *folds;
  gboolean ok;
  gboolean undone; /* nothing of it is in the VM */
  GError *error;
} Op;

static Op *
op_new (BkQueue *queue, GTask *task, BkVm *vm)
{
  Op *op = g_new0 (Op, 1);
  op->queue = queue;
  op->task = task;
  op->vm = vm;
  op->claims = bk_claims_new ();
  queue->pending++;
  g_ptr_array_add (queue->short_ops, op->claims);
  return op;
}

static void
op_free (Op *op)
{
  op->queue->pending--;
  g_ptr_array_remove (op->queue->short_ops, op->claims);
  g_clear_object (&op->task);
  bk_vm_unref (op->vm);
  bk_claims_free (op->claims);
  bk_checkpoint_request_free (op->request);
  g_clear_pointer (&op->state, bk_vm_state_free);
  bk_run_free (op->run);
  bk_checkpoint_info_free (op->checkpoint);
  g_clear_pointer (&op->folds, g_ptr_array_unref);
  g_clear_error (&op->error);
  g_free (op);
}

/* @error: (transfer full) */
static void
op_fail (Op *op, GError *error)
{
  if (op->task)
    g_task_return_error (op->task, error);
  else {
    g_warning ("checkpoint '%s': %s", op->checkpoint->id, error->message);
    g_error_free (error);
  }
  op_free (op);
}

/* @claims names the disks only now that they are known; our own entry must not be in the way. */
static gboolean
claim_disks (Op *op, GPtrArray *names, GError **error)
{
  g_autoptr (BkClaims) wanted = bk_claims_new ();
  for (unsigned i = 0; i < names->len; i++)
    bk_claims_add_refusing (wanted, "disk '%s' of VM '%s'", (const char *)names->pdata[i], bk_vm_name (op->vm));
  if (!bk_queue_check_claims (op->queue, wanted, error))
    return FALSE;
  for (unsigned i = 0; i < names->len; i++)
    bk_claims_add_refusing (op->claims, "disk '%s' of VM '%s'", (const char *)names->pdata[i], bk_vm_name (op->vm));
  return TRUE;
}

static void
publish (BkQueue *queue, const BkCheckpointInfo *checkpoint)
{
  bk_event_ring_publish (queue->events, "checkpoint", checkpoint->vm, NULL, bk_struct_to_json (&bk_checkpoint_info_struct, checkpoint));
}

/* --- create --- */

static void
set_disk_states (BkCheckpointInfo *checkpoint, const char *state)
{
  for (unsigned i = 0; i < checkpoint->disks->len; i++) {
    BkCheckpointDisk *disk = checkpoint->disks->pdata[i];
    g_free (disk->state);
    disk->state = g_strdup (state);
  }
}

static BkCheckpointInfo *
describe (Op *op)
{
  BkCheckpointInfo *checkpoint = g_new0 (BkCheckpointInfo, 1);
  checkpoint->id = bk_ulid_new ();
  checkpoint->name = g_strdup (op->request->name);
  checkpoint->vm = g_strdup (op->request->vm);
  checkpoint->created_at = g_get_real_time ();
  checkpoint->disks = g_ptr_array_new ();
  for (unsigned i = 0; i < op->run->disks->len; i++) {
    BkRunDisk *planned = op->run->disks->pdata[i];
    if (!planned->checkpoint)
      continue;
    planned->bitmap = bk_plan_bitmap (op->run, planned, bk_catalog_instance (op->queue->catalog), checkpoint->id);
    BkCheckpointDisk *disk = g_new0 (BkCheckpointDisk, 1);
    disk->name = g_strdup (planned->name);
    disk->bitmap = g_strdup (planned->bitmap);
    disk->parent = g_strdup (planned->parent_checkpoint);
    disk->state = g_strdup ("provisional");
    disk->size = planned->size;
    disk->persistent = planned->persistent;
    g_ptr_array_add (checkpoint->disks, disk);
  }
  return checkpoint;
}

static gboolean
check_writable (const BkRun *run, GError **error)
{
  for (unsigned i = 0; i < run->disks->len; i++) {
    const BkRunDisk *disk = run->disks->pdata[i];
    if (disk->checkpoint)
      continue;
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "disk '%s' takes no checkpoint: it is read-only, or of a format that changes are not tracked in (%s); leave it out",
                 disk->name, disk->format);
    return FALSE;
  }
  return TRUE;
}

/* The disks, their newest bitmaps and what they can keep: as for a full backup to nowhere. */
static gboolean
plan_checkpoint (Op *op, GError **error)
{
  g_autoptr (GPtrArray) checkpoints = bk_catalog_list_checkpoints (op->queue->catalog, op->request->vm, error);
  g_autoptr (GPtrArray) backups = g_ptr_array_new ();
  if (checkpoints == NULL)
    return FALSE;
  BkBackupRequest request = { .vm = op->request->vm, .disks = op->request->disks, .level = (char *)"full", .target = (char *)"/" };
  BkPlanInput input = {
    .request = &request,
    .vm = op->state,
    .checkpoints = checkpoints,
    .backups = backups,
    .instance = bk_catalog_instance (op->queue->catalog),
    .no_scratch = "none is needed",
  };
  g_autofree char *reason = NULL;
  op->run = bk_plan_backup (&input, &reason, error);
  if (op->run == NULL || !check_writable (op->run, error))
    return FALSE;
  op->run->prefix = g_strdup_printf ("bkd-%s-cp", input.instance); /* of its bitmaps: it has nothing else in QEMU */
  return TRUE;
}

static gboolean
begin_create (Op *op, GError **error)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new ();
  if (!plan_checkpoint (op, error))
    return FALSE;
  op->checkpoint = describe (op);
  for (unsigned i = 0; i < op->checkpoint->disks->len; i++)
    g_ptr_array_add (names, ((BkCheckpointDisk *)op->checkpoint->disks->pdata[i])->name);
  return claim_disks (op, names, error) && bk_catalog_put_checkpoint (op->queue->catalog, op->checkpoint, error);
}

static void
create_work (gpointer user_data)
{
  Op *op = user_data;
  g_autoptr (GError) failure = NULL;
  op->ok = bk_backend_checkpoint_create (bk_vm_backend (op->vm), op->run, &op->error);
  if (op->ok)
    return;
  /* Without an answer it may be there all the same. */
  op->undone = bk_backend_rollback (bk_vm_backend (op->vm), op->run, true, &failure);
  if (!op->undone)
    g_warning ("checkpoint '%s' cannot be taken back yet: %s", op->checkpoint->id, failure->message);
}

static void
create_done (gpointer user_data)
{
  Op *op = user_data;
  g_autoptr (GError) error = g_steal_pointer (&op->error);
  g_autoptr (GError) ignored = NULL;
  set_disk_states (op->checkpoint, "committed");
  if (op->ok && bk_catalog_put_checkpoint (op->queue->catalog, op->checkpoint, &error)) {
    publish (op->queue, op->checkpoint);
    g_task_return_pointer (op->task, g_steal_pointer (&op->checkpoint), (GDestroyNotify)bk_checkpoint_info_free);
    op_free (op);
    return;
  }
  if (op->undone && !bk_catalog_remove_checkpoint (op->queue->catalog, op->checkpoint->id, &ignored))
    g_warning ("checkpoint '%s': %s", op->checkpoint->id, ignored->message);
  op_fail (op, g_steal_pointer (&error));
}

static void
inspect_work (gpointer user_data)
{
  Op *op = user_data;
  op->state = bk_backend_inspect (bk_vm_backend (op->vm), NULL, &op->error);
}

static void
inspect_done (gpointer user_data)
{
  Op *op = user_data;
  g_autoptr (GError) error = g_steal_pointer (&op->error);
  if (op->queue->stopping && error == NULL)
    g_set_error (&error, BK_ERROR, BK_ERROR_UNREACHABLE, "the daemon is stopping");
  if (error == NULL && begin_create (op, &error))
    bk_background_run (create_work, create_done, op);
  else
    op_fail (op, g_steal_pointer (&error));
}

static gboolean
check_name (BkQueue *queue, const BkCheckpointRequest *request, GError **error)
{
  if (request->name == NULL)
    return TRUE;
  if (!bk_name_is_valid (request->name)) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/name: '%s' is no name; use 1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit", request->name);
    return FALSE;
  }
  g_autoptr (BkCheckpointInfo) known = bk_catalog_get_checkpoint (queue->catalog, request->vm, request->name, NULL);
  if (known == NULL || g_strcmp0 (known->name, request->name) != 0)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "VM '%s' has a checkpoint named '%s' already", request->vm, request->name);
  return FALSE;
}

void
bk_queue_create_checkpoint_async (BkQueue *queue, const BkCheckpointRequest *request, GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GTask) task = g_task_new (NULL, NULL, callback, user_data);
  g_autoptr (BkVm) vm = bk_vm_registry_get (queue->vms, request->vm, &error);
  if (vm == NULL || !check_name (queue, request, &error)) {
    g_task_return_error (task, g_steal_pointer (&error));
    return;
  }
  Op *op = op_new (queue, g_steal_pointer (&task), g_steal_pointer (&vm));
  op->request = bk_struct_copy (&bk_checkpoint_request_struct, request);
  bk_vm_recall (op->vm);
  bk_background_run (inspect_work, inspect_done, op);
}

BkCheckpointInfo *
bk_queue_create_checkpoint_finish (BkQueue *queue G_GNUC_UNUSED, GAsyncResult *result, GError **error)
{
  return g_task_propagate_pointer (G_TASK (result), error);
}

/* --- delete --- */

/* When there is no answer the fold may have been carried out all the same: then its bitmap is gone at the second
 * attempt, and what the first one had in mind has come true. */
static gboolean
fold_one (Op *op, BkFold *fold, GError **error)
{
  g_autoptr (GError) failure = NULL;
  BkBackend *backend = bk_vm_backend (op->vm);
  if (bk_backend_checkpoint_delete (backend, fold->disk, fold->bitmap, fold->parent, fold->newest, &fold->merged, &failure))
    return TRUE;
  if (!g_error_matches (failure, BK_ERROR, BK_ERROR_UNREACHABLE)) {
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  bool merging = fold->merged;
  if (!bk_backend_checkpoint_delete (backend, fold->disk, fold->bitmap, fold->parent, fold->newest, &fold->merged, error))
    return FALSE;
  fold->merged |= merging;
  return TRUE;
}

static void
delete_work (gpointer user_data)
{
  Op *op = user_data;
  op->ok = TRUE;
  for (unsigned i = 0; i < op->folds->len && op->ok; i++)
    op->ok = fold_one (op, op->folds->pdata[i], &op->error);
}

static gboolean
forget (Op *op, GError **error)
{
  g_autoptr (BkCatalogChange) change = bk_catalog_begin (op->queue->catalog, error);
  return change && bk_checkpoint_forget (op->queue->catalog, op->checkpoint->vm, op->checkpoint->id, op->folds, error) &&
         bk_catalog_commit (&change, error);
}

/* QEMU has refused: the checkpoint is what it was, where it is not folded yet. */
static void
keep (Op *op)
{
  g_autoptr (GError) error = NULL;
  set_disk_states (op->checkpoint, "committed");
  if (!bk_catalog_put_checkpoint (op->queue->catalog, op->checkpoint, &error))
    g_warning ("checkpoint '%s': %s", op->checkpoint->id, error->message);
}

static void
delete_done (gpointer user_data)
{
  Op *op = user_data;
  g_autoptr (GError) error = g_steal_pointer (&op->error);
  if (error && !g_error_matches (error, BK_ERROR, BK_ERROR_UNREACHABLE))
    keep (op);
  if (error || !forget (op, &error)) {
    op_fail (op, g_steal_pointer (&error));
    return;
  }
  publish (op->queue, op->checkpoint);
  if (op->task)
    g_task_return_boolean (op->task, TRUE);
  op_free (op);
}

static gboolean
begin_delete (Op *op, GError **error)
{
  g_autoptr (GPtrArray) checkpoints = bk_catalog_list_checkpoints (op->queue->catalog, op->checkpoint->vm, error);
  g_autoptr (GPtrArray) names = g_ptr_array_new ();
  if (checkpoints == NULL)
    return FALSE;
  op->folds = bk_checkpoint_folds (checkpoints, op->checkpoint->id);
  for (unsigned i = 0; i < op->folds->len; i++)
    g_ptr_array_add (names, ((BkFold *)op->folds->pdata[i])->disk);
  if (!claim_disks (op, names, error))
    return FALSE;
  /* Written down first: its bits are on their way into another bitmap, and it is no base any more. */
  set_disk_states (op->checkpoint, "provisional");
  return bk_catalog_put_checkpoint (op->queue->catalog, op->checkpoint, error);
}

void
bk_queue_delete_checkpoint_async (BkQueue *queue, const char *id, GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GTask) task = g_task_new (NULL, NULL, callback, user_data);
  g_autoptr (BkCheckpointInfo) checkpoint = bk_catalog_get_checkpoint (queue->catalog, NULL, id, &error);
  g_autoptr (BkVm) vm = checkpoint ? bk_vm_registry_get (queue->vms, checkpoint->vm, &error) : NULL;
  if (vm == NULL) {
    g_task_return_error (task, g_steal_pointer (&error));
    return;
  }
  Op *op = op_new (queue, g_steal_pointer (&task), g_steal_pointer (&vm));
  op->checkpoint = g_steal_pointer (&checkpoint);
  if (begin_delete (op, &error))
    bk_background_run (delete_work, delete_done, op);
  else
    op_fail (op, g_steal_pointer (&error));
}

static bool
is_half_done (BkQueue *queue, const BkCheckpointInfo *checkpoint)
{
  bool provisional = false;
  for (unsigned i = 0; checkpoint->disks && i < checkpoint->disks->len; i++)
    provisional |= strcmp (((const BkCheckpointDisk *)checkpoint->disks->pdata[i])->state, "provisional") == 0;
  /* A job that is not settled cares for its own. */
  for (unsigned i = 0; provisional && i < queue->entries->len; i++) {
    const BkQueueEntry *entry = queue->entries->pdata[i];
    provisional = g_strcmp0 (bk_job_id (entry->job), checkpoint->job_id) != 0;
  }
  return provisional;
}

static void
settle_checkpoint (BkQueue *queue, const BkCheckpointInfo *checkpoint, BkVm *vm)
{
  g_autoptr (GError) error = NULL;
  Op *op = op_new (queue, NULL, bk_vm_ref (vm));
  op->checkpoint = bk_struct_copy (&bk_checkpoint_info_struct, checkpoint);
  if (begin_delete (op, &error))
    bk_background_run (delete_work, delete_done, op);
  else
    op_free (op); /* another operation is at it */
}

void
bk_queue_settle_checkpoints (BkQueue *queue, const char *name)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkVm) vm = bk_vm_registry_get (queue->vms, name, &error);
  g_autoptr (GPtrArray) checkpoints = vm ? bk_catalog_list_checkpoints (queue->catalog, name, &error) : NULL;
  if (error)
    g_warning ("VM '%s': %s", name, error->message);
  for (unsigned i = 0; checkpoints && i < checkpoints->len; i++)
    if (is_half_done (queue, checkpoints->pdata[i]))
      settle_checkpoint (queue, checkpoints->pdata[i], vm);
}

gboolean
bk_queue_delete_checkpoint_finish (BkQueue *queue G_GNUC_UNUSED, GAsyncResult *result, GError **error)
{
  return g_task_propagate_boolean (G_TASK (result), error);
}

GPtrArray *
bk_queue_list_checkpoints (BkQueue *queue, const char *vm, GError **error)
{
  return bk_catalog_list_checkpoints (queue->catalog, vm, error);
}
