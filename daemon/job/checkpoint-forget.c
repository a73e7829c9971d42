/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "checkpoint-forget.h"

#include "checkpoint-fold.h"

#include <string.h>

gboolean
bk_checkpoint_forget (BkCatalog *catalog, const char *vm, const char *id, GPtrArray *folds, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (GPtrArray) checkpoints = bk_catalog_list_checkpoints (catalog, vm, error);
  if (checkpoints == NULL)
    return FALSE;
  g_autoptr (GPtrArray) changed = bk_checkpoint_relink (checkpoints, id, folds);
  for (unsigned i = 0; i < changed->len; i++)
    if (!bk_catalog_put_checkpoint (catalog, changed->pdata[i], error))
      return FALSE;
  if (bk_catalog_remove_checkpoint (catalog, id, &failure) || g_error_matches (failure, BK_ERROR, BK_ERROR_NOT_FOUND))
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&failure));
  return FALSE;
}

/* True when @disk was in @checkpoint. */
static bool
take_disk_out (BkCheckpointInfo *checkpoint, const char *name)
{
  for (unsigned i = 0; checkpoint->disks && i < checkpoint->disks->len; i++) {
    BkCheckpointDisk *disk = checkpoint->disks->pdata[i];
    if (strcmp (disk->name, name) != 0)
      continue;
    g_ptr_array_remove_index (checkpoint->disks, i);
    bk_checkpoint_disk_free (disk);
    return true;
  }
  return false;
}

gboolean
bk_checkpoint_forget_before (BkCatalog *catalog, const char *vm, const char *disk, const char *id, GError **error)
{
  g_autoptr (GPtrArray) checkpoints = bk_catalog_list_checkpoints (catalog, vm, error);
  if (checkpoints == NULL)
    return FALSE;
  for (unsigned i = 0; i < checkpoints->len; i++) {
    BkCheckpointInfo *checkpoint = checkpoints->pdata[i];
    if (strcmp (checkpoint->id, id) == 0)
      break;
    if (!take_disk_out (checkpoint, disk))
      continue;
    gboolean ok = checkpoint->disks->len > 0 ? bk_catalog_put_checkpoint (catalog, checkpoint, error)
                                             : bk_catalog_remove_checkpoint (catalog, checkpoint->id, error);
    if (!ok)
      return FALSE;
  }
  return TRUE;
}
