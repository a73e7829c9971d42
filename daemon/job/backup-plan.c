/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backup-plan.h"

#include "backup-request.h"
#include "export-folder.h"
#include "fsio.h"
#include "hook.h"
#include "quiesce.h"
#include "target-check.h"

#include <string.h>

static char *
why_no_scratch (const char *folder, uint64_t reserve)
{
  g_autoptr (GError) error = NULL;
  uint64_t bytes = 0;
  if (!bk_fsio_free_space (folder, &bytes, &error))
    return g_strdup_printf ("no scratch space: %s", error->message);
  if (bytes >= reserve)
    return NULL;
  g_autofree char *have = bk_size_format (bytes);
  g_autofree char *want = bk_size_format (reserve);
  return g_strdup_printf ("only %s of scratch space are free in '%s', and %s are to stay free", have, folder, want);
}

static BkRunDisk *
find_planned (const BkRun *run, const BkDisk *disk)
{
  for (unsigned i = 0; i < run->disks->len; i++)
    if (strcmp (((const BkRunDisk *)run->disks->pdata[i])->name, disk->name) == 0)
      return run->disks->pdata[i];
  return NULL;
}

static void
note_classes (const BkRun *run, BkVm *vm, GPtrArray *disks)
{
  for (unsigned i = 0; i < disks->len; i++) {
    BkRunDisk *planned = find_planned (run, disks->pdata[i]);
    if (planned)
      planned->class_name = g_strdup (bk_vm_class_of (vm, disks->pdata[i]));
  }
}

/* Something of an earlier job is still in the way and could not be taken out of the VM yet; or another program's
 * job is at work: QEMU 7.2 aborts when a filter sits above such a job's own as it ends. */
static gboolean
check_not_in_use (const BkRun *run, const BkVmState *state, GError **error)
{
  for (unsigned i = 0; i < state->disks->len; i++) {
    const BkDisk *disk = state->disks->pdata[i];
    if (find_planned (run, disk) == NULL)
      continue;
    if (disk->blocked) {
      g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "disk '%s' is in use by %s; wait until that has ended", disk->name, disk->blocked);
      return FALSE;
    }
    if (disk->in_use) {
      g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "disk '%s' still carries the nodes '%s-*' of another backup; wait until that has ended",
                   disk->name, disk->in_use);
      return FALSE;
    }
  }
  return TRUE;
}

BkRun *
bk_backup_plan (const BkBackupContext *context, BkCatalog *catalog, const BkBackupRequest *request,
                const BkVmState *state, BkStore **store, char **reason, BkPlanInfo **info, GError **error)
{
  g_autoptr (GError) failure = NULL;
  const char *repository = context->export ? NULL : bk_backup_request_repository (request);
  g_autoptr (BkStore) opened = repository == NULL ? NULL : bk_repository_registry_open (context->repositories, repository, &failure);
  if (failure) {
    g_propagate_error (error, g_steal_pointer (&failure));
    return NULL;
  }
  g_autofree char *export_folder = bk_export_folder_of_vm (context->exports, request->vm);
  g_autofree char *no_scratch = why_no_scratch (context->scratch, context->scratch_reserve);
  g_autoptr (GPtrArray) checkpoints = bk_catalog_list_checkpoints (catalog, request->vm, error);
  g_autoptr (GPtrArray) backups = checkpoints == NULL ? NULL
                                  : repository    ? bk_catalog_list_backups (catalog, request->vm, repository, error)
                                                  : g_ptr_array_new ();
  if (backups == NULL)
    return NULL;
  BkPlanInput input = {
    .request = request,
    .vm = state,
    .checkpoints = checkpoints,
    .backups = backups,
    .repository = repository,
    .export = context->export,
    .dedup = opened && bk_store_is_dedup (opened),
    .instance = bk_catalog_instance (catalog),
    .scratch = no_scratch ? NULL : context->scratch,
    .no_scratch = no_scratch,
    .export_folder = export_folder,
  };
  g_autofree char *why = NULL;
  g_autoptr (BkRun) run = bk_plan_backup (&input, &why, error);
  g_autofree char *agent = bk_vm_agent (context->vm);
  if (run == NULL || !bk_quiesce_plan (run, request, agent, error) || !bk_hook_check (request, context->hooks_dir, error) || (!context->settling && !check_not_in_use (run, state, error)) ||
      !bk_target_check_disks (context->repositories, request, run, state->disks, error))
    return NULL;
  note_classes (run, context->vm, state->disks);
  if (info)
    *info = bk_plan_describe (run, &input, why);
  if (reason)
    *reason = g_steal_pointer (&why);
  if (store)
    *store = g_steal_pointer (&opened);
  return g_steal_pointer (&run);
}
