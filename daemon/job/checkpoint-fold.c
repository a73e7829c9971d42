/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "checkpoint-fold.h"

#include <string.h>

void
bk_fold_free (BkFold *fold)
{
  g_free (fold->disk);
  g_free (fold->bitmap);
  g_free (fold->parent);
  g_free (fold);
}

/* In any state. */
static const BkCheckpointDisk *
entry_of (const BkCheckpointInfo *checkpoint, const char *name)
{
  for (unsigned i = 0; checkpoint->disks && i < checkpoint->disks->len; i++) {
    const BkCheckpointDisk *disk = checkpoint->disks->pdata[i];
    if (strcmp (disk->name, name) == 0)
      return disk;
  }
  return NULL;
}

static const BkCheckpointDisk *
disk_of (const BkCheckpointInfo *checkpoint, const char *name)
{
  const BkCheckpointDisk *disk = entry_of (checkpoint, name);
  return disk && g_strcmp0 (disk->state, "committed") == 0 ? disk : NULL;
}

static BkFold *
fold_of (GPtrArray *checkpoints, unsigned at, const BkCheckpointDisk *disk)
{
  BkFold *fold = g_new0 (BkFold, 1);
  fold->disk = g_strdup (disk->name);
  fold->bitmap = g_strdup (disk->bitmap);
  fold->newest = true;
  for (unsigned i = at; i-- > 0 && fold->parent == NULL;) {
    const BkCheckpointDisk *before = disk_of (checkpoints->pdata[i], disk->name);
    fold->parent = before ? g_strdup (before->bitmap) : NULL;
  }
  for (unsigned i = at + 1; i < checkpoints->len; i++)
    fold->newest &= disk_of (checkpoints->pdata[i], disk->name) == NULL;
  return fold;
}

GPtrArray *
bk_checkpoint_folds (GPtrArray *checkpoints, const char *id)
{
  GPtrArray *folds = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_fold_free);
  for (unsigned i = 0; i < checkpoints->len; i++) {
    const BkCheckpointInfo *checkpoint = checkpoints->pdata[i];
    if (strcmp (checkpoint->id, id) != 0)
      continue;
    for (unsigned d = 0; checkpoint->disks && d < checkpoint->disks->len; d++)
      g_ptr_array_add (folds, fold_of (checkpoints, i, checkpoint->disks->pdata[d]));
  }
  return folds;
}

static const BkCheckpointInfo *
find (GPtrArray *checkpoints, const char *id)
{
  for (unsigned i = 0; i < checkpoints->len; i++)
    if (strcmp (((const BkCheckpointInfo *)checkpoints->pdata[i])->id, id) == 0)
      return checkpoints->pdata[i];
  return NULL;
}

static bool
was_merged (GPtrArray *folds, const char *disk)
{
  for (unsigned i = 0; i < folds->len; i++) {
    const BkFold *fold = folds->pdata[i];
    if (strcmp (fold->disk, disk) == 0)
      return fold->merged;
  }
  return false;
}

static bool
relink_one (BkCheckpointInfo *checkpoint, const BkCheckpointInfo *gone, GPtrArray *folds)
{
  bool changed = false;
  for (unsigned i = 0; checkpoint->disks && i < checkpoint->disks->len; i++) {
    BkCheckpointDisk *disk = checkpoint->disks->pdata[i];
    const BkCheckpointDisk *before = entry_of (gone, disk->name);
    if (g_strcmp0 (disk->parent, gone->id) != 0)
      continue;
    g_free (disk->parent);
    disk->parent = before && was_merged (folds, disk->name) ? g_strdup (before->parent) : NULL;
    changed = true;
  }
  return changed;
}

GPtrArray *
bk_checkpoint_relink (GPtrArray *checkpoints, const char *id, GPtrArray *folds)
{
  GPtrArray *changed = g_ptr_array_new ();
  const BkCheckpointInfo *gone = find (checkpoints, id);
  for (unsigned i = 0; gone && i < checkpoints->len; i++)
    if (relink_one (checkpoints->pdata[i], gone, folds))
      g_ptr_array_add (changed, checkpoints->pdata[i]);
  return changed;
}
