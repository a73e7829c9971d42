/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "plan.h"

#include "backup-request.h"
#include "checkpoint-chain.h"
#include "level.h"
#include "mode.h"
#include "target.h"

#include <string.h>

#define REPOSITORY_FOLDERS 3 /* above an image: the backup's, the VM's, its own */

/* --- which disks --- */

static char *
disk_names (GPtrArray *disks)
{
  g_autoptr (GString) names = g_string_new (NULL);
  for (unsigned i = 0; i < disks->len; i++)
    g_string_append_printf (names, "%s%s", i ? ", " : "", ((const BkDisk *)disks->pdata[i])->name);
  return g_strdup (names->len ? names->str : "none");
}

static gboolean
select_default (const BkPlanInput *input, GPtrArray *selected, GError **error)
{
  for (unsigned i = 0; i < input->vm->disks->len; i++)
    if (bk_disk_is_default (input->vm->disks->pdata[i]))
      g_ptr_array_add (selected, input->vm->disks->pdata[i]);
  if (selected->len > 0)
    return TRUE;
  if (input->vm->disks->len == 0) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "VM '%s' has no disks", input->request->vm);
    return FALSE;
  }
  g_autofree char *names = disk_names (input->vm->disks);
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID,
               "VM '%s' has no writable disk with a medium; name the disks to back up (there are: %s)",
               input->request->vm, names);
  return FALSE;
}

static gboolean
select_named (const BkPlanInput *input, const char *name, GPtrArray *selected, GError **error)
{
  const BkDisk *disk = bk_disk_resolve (input->vm->disks, name, error);
  if (disk == NULL)
    return FALSE;
  if (disk->empty) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "disk '%s' has no medium", disk->name);
    return FALSE;
  }
  if (g_ptr_array_find (selected, disk, NULL)) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "disk '%s' is named twice (the second time as '%s')", disk->name,
                 name);
    return FALSE;
  }
  g_ptr_array_add (selected, (gpointer)disk);
  return TRUE;
}

static gboolean
select_disks (const BkPlanInput *input, GPtrArray *selected, GError **error)
{
  GStrv names = input->request->disks;
  if (names == NULL || names[0] == NULL)
    return select_default (input, selected, error);
  for (size_t i = 0; names[i]; i++)
    if (!select_named (input, names[i], selected, error))
      return FALSE;
  return TRUE;
}

/* --- since when --- */

static char *
checkpoint_names (GPtrArray *checkpoints)
{
  g_autoptr (GString) names = g_string_new (NULL);
  for (unsigned i = 0; i < checkpoints->len; i++)
    g_string_append_printf (names, "%s%s", i ? ", " : "", ((const BkCheckpointInfo *)checkpoints->pdata[i])->id);
  return g_strdup (names->len ? names->str : "none");
}

static const BkCheckpointInfo *
find_exact (GPtrArray *checkpoints, const char *text)
{
  for (unsigned i = 0; i < checkpoints->len; i++) {
    const BkCheckpointInfo *checkpoint = checkpoints->pdata[i];
    if (g_strcmp0 (checkpoint->id, text) == 0 || g_strcmp0 (checkpoint->name, text) == 0)
      return checkpoint;
  }
  return NULL;
}

static const BkCheckpointInfo *
find_checkpoint (GPtrArray *checkpoints, const char *text, GError **error)
{
  const BkCheckpointInfo *exact = find_exact (checkpoints, text);
  if (exact)
    return exact;
  g_autoptr (GPtrArray) matches = g_ptr_array_new ();
  for (unsigned i = 0; text[0] != '\0' && i < checkpoints->len; i++)
    if (g_str_has_prefix (((const BkCheckpointInfo *)checkpoints->pdata[i])->id, text))
      g_ptr_array_add (matches, checkpoints->pdata[i]);
  if (matches->len == 1)
    return matches->pdata[0];
  g_autofree char *names = checkpoint_names (matches->len ? matches : checkpoints);
  if (matches->len)
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "checkpoint '%s' is ambiguous: %s", text, names);
  else
    g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "this VM has no checkpoint '%s'; there are: %s", text, names);
  return NULL;
}

/* --- one disk --- */

static bool
has_our_name (const BkPlanInput *input, const BkBitmap *bitmap)
{
  g_autofree char *prefix = g_strdup_printf ("bkd-%s-cp-", input->instance);
  return g_str_has_prefix (bitmap->name, prefix);
}

static bool
is_known_checkpoint (const BkPlanInput *input, const BkDisk *disk, const BkBitmap *bitmap)
{
  for (unsigned i = 0; i < input->checkpoints->len; i++) {
    const BkCheckpointDisk *entry = bk_checkpoint_chain_entry (input->checkpoints->pdata[i], disk->name);
    if (entry && g_strcmp0 (entry->bitmap, bitmap->name) == 0)
      return true;
  }
  return false;
}

/* Ours that a crash has spoilt, or that no checkpoint stands for any more (the VM was removed and added again);
 * what belongs to others is not touched. (transfer full) */
static GStrv
find_stale (const BkPlanInput *input, const BkDisk *disk)
{
  g_autoptr (GStrvBuilder) stale = g_strv_builder_new ();
  for (unsigned i = 0; disk->bitmaps && i < disk->bitmaps->len; i++) {
    const BkBitmap *bitmap = disk->bitmaps->pdata[i];
    bool ours = has_our_name (input, bitmap);
    bool known = is_known_checkpoint (input, disk, bitmap);
    if (bitmap->inconsistent ? ours || known : ours && !known)
      g_strv_builder_add (stale, bitmap->name);
  }
  return g_strv_builder_end (stale);
}

/* On a read-only disk no bitmap can be added, stopped or removed; and one in memory needs a VM that runs. */
static void
plan_checkpoint (const BkPlanInput *input, const BkDisk *disk, BkRunDisk *planned)
{
  if (disk->read_only || disk->untracked || (input->vm->offline && !disk->can_persist))
    return;
  planned->checkpoint = true;
  planned->persistent = disk->can_persist;
  planned->stale_bitmaps = find_stale (input, disk);
  BkCheckpointLink parent;
  if (!bk_checkpoint_chain_parent (disk, input->checkpoints, &parent))
    return;
  planned->parent_bitmap = g_strdup (parent.bitmap->name);
  planned->parent_checkpoint = g_strdup (parent.checkpoint->id);
}

static gboolean
check_top (const BkPlanInput *input, const BkDisk *disk, GError **error)
{
  if (g_strcmp0 (input->request->sync, "top") != 0 || disk->has_backing)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID,
               "disk '%s' has no backing file: sync 'top' would be all of it; leave sync out", disk->name);
  return FALSE;
}

static const char *
target_driver (const BkPlanInput *input)
{
  if (input->export)
    return "export";
  if (input->dedup)
    return "repository";
  return input->request->target && bk_target_is_nbd (input->request->target) ? "nbd" : "file";
}

static gboolean
check_can_pull (const BkDisk *disk, GError **error)
{
  if (disk->no_pull == NULL)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "disk '%s' cannot be pulled: %s; back it up with mode push into a repository of type qcow2 or to a target",
               disk->name, disk->no_pull);
  return FALSE;
}

static gboolean
check_access (const BkDisk *disk, GError **error)
{
  if (disk->no_access)
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "disk '%s' cannot be read while the VM is shut off: %s; leave it out with a list of the other disks, or start the VM",
                 disk->name, disk->no_access);
  return disk->no_access == NULL;
}

static BkRunDisk *
plan_disk (const BkPlanInput *input, const char *mode, const BkDisk *disk, const BkCheckpointInfo *since, unsigned index, GError **error)
{
  if (!check_access (disk, error) || (strcmp (mode, "pull") == 0 && !check_can_pull (disk, error)))
    return NULL;
  g_autoptr (BkRunDisk) planned = g_new0 (BkRunDisk, 1);
  planned->name = g_strdup (disk->name);
  planned->index = index;
  planned->qdev = g_strdup (disk->qdev);
  planned->root = g_strdup (disk->root);
  planned->node = g_strdup (disk->node);
  planned->format = g_strdup (disk->format);
  planned->file = g_strdup (disk->file);
  planned->path = input->vm->offline ? g_strdup (disk->path) : NULL;
  planned->size = disk->size;
  planned->state = g_strdup ("planned");
  planned->target_format = g_strdup (input->dedup || input->export ? "raw" : bk_target_format (input->request));
  planned->target_driver = g_strdup (target_driver (input));
  if (!check_top (input, disk, error) || !bk_level_decide (input, disk, since, planned, error))
    return NULL;
  plan_checkpoint (input, disk, planned);
  return g_steal_pointer (&planned);
}

/* --- all of it --- */

static const char *
or_report (const char *action)
{
  return action ? action : "report";
}

static BkRun *
new_run (const BkPlanInput *input, const char *mode, unsigned n_disks)
{
  bool snapshot = g_strcmp0 (mode, "push-direct") != 0 && !input->vm->offline;
  BkRun *run = g_new0 (BkRun, 1);
  run->mode = g_strdup (mode);
  run->offline = input->vm->offline;
  run->scratch = snapshot ? g_strdup (input->scratch) : NULL;
  run->stops_guest = snapshot && n_disks > 1;
  run->export_folder = bk_run_is_pull (run) ? g_strdup (input->export_folder) : NULL;
  run->speed = input->request->speed;
  run->compress = input->request->compress;
  run->on_source_error = g_strdup (or_report (input->request->on_source_error));
  run->on_target_error = g_strdup (or_report (input->request->on_target_error));
  run->qemu_version = g_strdup (input->vm->version);
  run->disks = g_ptr_array_new ();
  run->one_bitmap_name = input->vm->one_bitmap_name;
  return run;
}

/* Here as well as in bk_plan_name(), so that a --dry-run tells. */
static gboolean
check_targets (const BkBackupRequest *request, unsigned n_disks, GError **error)
{
  if (request->target == NULL)
    return TRUE;
  g_autofree char *target = bk_target_for_disk (request, "any", n_disks, error);
  return target != NULL;
}

static BkRun *
plan_run (const BkPlanInput *input, const char *mode, GError **error)
{
  g_autoptr (GPtrArray) disks = g_ptr_array_new ();
  if (!bk_backup_request_check_mode (input->request, mode, error) || !select_disks (input, disks, error) ||
      !check_targets (input->request, disks->len, error))
    return NULL;
  const BkCheckpointInfo *since = NULL;
  if (input->request->since) {
    since = find_checkpoint (input->checkpoints, input->request->since, error);
    if (since == NULL)
      return NULL;
  }
  g_autoptr (BkRun) run = new_run (input, mode, disks->len);
  for (unsigned i = 0; i < disks->len; i++) {
    BkRunDisk *planned = plan_disk (input, mode, disks->pdata[i], since, i, error);
    if (planned == NULL)
      return NULL;
    g_ptr_array_add (run->disks, planned);
    if (input->request->target)
      planned->target = bk_target_for_disk (input->request, planned->name, disks->len, error);
  }
  return g_steal_pointer (&run);
}

static gboolean
check_possible (const BkPlanInput *input, GError **error)
{
  if (input->vm->obstacle == NULL)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "VM '%s' cannot be backed up now: %s", input->request->vm, input->vm->obstacle);
  return FALSE;
}

BkRun *
bk_plan_backup (const BkPlanInput *input, char **mode_reason, GError **error)
{
  *mode_reason = NULL;
  if (!bk_backup_request_check (input->request, error) || !check_possible (input, error))
    return NULL;
  g_autofree char *reason = NULL;
  const char *mode = bk_mode_choose (input, &reason, error);
  BkRun *run = mode ? plan_run (input, mode, error) : NULL;
  if (run)
    *mode_reason = g_steal_pointer (&reason);
  return run;
}

/* --- names --- */

static gboolean
name_target (BkRunDisk *disk, const BkBackupRequest *request, unsigned n_disks, const char *folder, GError **error)
{
  g_clear_pointer (&disk->target, g_free);
  if (request->target) {
    disk->target = bk_target_for_disk (request, disk->name, n_disks, error);
    return disk->target != NULL;
  }
  if (strcmp (disk->target_driver, "repository") == 0 || strcmp (disk->target_driver, "export") == 0)
    return TRUE;
  disk->target = bk_target_in_folder (folder, disk->name);
  if (disk->parent_backup)
    disk->backing = bk_target_backing (disk->parent_backup, disk->name);
  return TRUE;
}

char *
bk_plan_bitmap (const BkRun *run, const BkRunDisk *disk, const char *instance, const char *checkpoint)
{
  if (run->one_bitmap_name)
    return g_strdup_printf ("bkd-%s-cp-%s", instance, checkpoint);
  return g_strdup_printf ("bkd-%s-cp-%s-%" G_GUINT64_FORMAT, instance, checkpoint, disk->index);
}

gboolean
bk_plan_name (BkRun *run, const BkBackupRequest *request, const char *instance, uint64_t number, const char *folder,
              GError **error)
{
  run->prefix = g_strdup_printf ("bkd-%s-%" G_GUINT64_FORMAT, instance, number);
  run->own_folders = request->target ? 0 : REPOSITORY_FOLDERS;
  g_autofree char *digits = g_strdup_printf ("%" G_GUINT64_FORMAT, number);
  for (unsigned i = 0; i < run->disks->len; i++) {
    BkRunDisk *disk = run->disks->pdata[i];
    if (disk->checkpoint)
      disk->bitmap = bk_plan_bitmap (run, disk, instance, digits);
    if (!name_target (disk, request, run->disks->len, folder, error))
      return FALSE;
  }
  return TRUE;
}

/* --- what --dry-run shows --- */

static BkPlanDiskInfo *
describe_disk (const BkRunDisk *disk)
{
  BkPlanDiskInfo *info = g_new0 (BkPlanDiskInfo, 1);
  info->name = g_strdup (disk->name);
  info->level = g_strdup (disk->level);
  info->reason = g_strdup (disk->reason);
  info->size = disk->size;
  info->bytes_estimated = disk->estimated;
  info->target = g_strdup (disk->target);
  info->base_checkpoint = g_strdup (disk->base_checkpoint);
  return info;
}

BkPlanInfo *
bk_plan_describe (const BkRun *run, const BkPlanInput *input, const char *mode_reason)
{
  BkPlanInfo *info = g_new0 (BkPlanInfo, 1);
  info->vm = g_strdup (input->request->vm);
  info->mode = g_strdup (run->mode);
  info->reason = g_strdup (mode_reason);
  info->repository = g_strdup (input->repository);
  info->disks = g_ptr_array_new ();
  for (unsigned i = 0; i < run->disks->len; i++)
    g_ptr_array_add (info->disks, describe_disk (run->disks->pdata[i]));
  return info;
}
