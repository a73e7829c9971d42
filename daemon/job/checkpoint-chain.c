/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "checkpoint-chain.h"

typedef struct {
  const BkDisk *disk;
  BkCheckpointChain *chain;
  const BkCheckpointLink *newer; /* the link found last */
  uint64_t size;                 /* of the disk at the next younger moment that is known */
} Walk;

const BkCheckpointDisk *
bk_checkpoint_chain_entry (const BkCheckpointInfo *checkpoint, const char *disk)
{
  for (unsigned i = 0; checkpoint->disks && i < checkpoint->disks->len; i++) {
    const BkCheckpointDisk *entry = checkpoint->disks->pdata[i];
    if (g_strcmp0 (entry->name, disk) == 0)
      return entry;
  }
  return NULL;
}

bool
bk_checkpoint_chain_is_committed (const BkCheckpointDisk *entry)
{
  return g_strcmp0 (entry->state, "committed") == 0;
}

static char *
missing (const BkDisk *disk, const BkCheckpointInfo *checkpoint, const BkCheckpointDisk *entry)
{
  if (entry->persistent)
    return g_strdup_printf ("bitmap of checkpoint '%s' is missing: the VM was not shut down cleanly, or its image was "
                            "replaced", checkpoint->id);
  if (g_strcmp0 (disk->format, "raw") == 0)
    return g_strdup ("raw images cannot keep dirty bitmaps over a restart of the VM; the VM was restarted since");
  return g_strdup_printf ("bitmap of checkpoint '%s' could not be kept over a restart of the VM; the VM was restarted "
                          "since", checkpoint->id);
}

static const char *
changed_from_outside (const BkBitmap *bitmap, const BkCheckpointDisk *entry, bool newest)
{
  if (bitmap->persistent != entry->persistent)
    return bitmap->persistent ? "it is persistent now" : "it is not persistent any more";
  if (bitmap->recording != (newest || bitmap->cumulative))
    return bitmap->recording ? "it records again" : "it does not record any more";
  return NULL;
}

/* Why the bitmap of @checkpoint cannot be trusted; NULL when it can. (transfer full) */
static char *
find_fault (const BkDisk *disk, const BkCheckpointInfo *checkpoint, const BkCheckpointDisk *entry, bool newest)
{
  const BkBitmap *bitmap = bk_disk_find_bitmap (disk, entry->bitmap);
  if (bitmap == NULL)
    return missing (disk, checkpoint, entry);
  if (bitmap->inconsistent)
    return g_strdup_printf ("bitmap of checkpoint '%s' is inconsistent: QEMU was killed or the host crashed",
                            checkpoint->id);
  if (bitmap->busy)
    return g_strdup_printf ("bitmap of checkpoint '%s' is in use by another operation", checkpoint->id);
  const char *change = changed_from_outside (bitmap, entry, newest);
  return change ? g_strdup_printf ("bitmap of checkpoint '%s' was changed from outside: %s", checkpoint->id, change)
                : NULL;
}

static char *
shrank (const Walk *walk, const BkCheckpointInfo *checkpoint, const BkCheckpointDisk *entry)
{
  g_autofree char *from = bk_size_format (entry->size);
  g_autofree char *to = bk_size_format (walk->size);
  if (g_strcmp0 (from, to) != 0)
    return g_strdup_printf ("the disk shrank from %s to %s since checkpoint '%s'", from, to, checkpoint->id);
  return g_strdup_printf ("the disk shrank by %" G_GUINT64_FORMAT " bytes since checkpoint '%s'",
                          entry->size - walk->size, checkpoint->id);
}

static char *
gap (const Walk *walk, const BkCheckpointInfo *checkpoint)
{
  return g_strdup_printf ("changes between checkpoint '%s' and checkpoint '%s' were not recorded", checkpoint->id,
                          walk->newer->checkpoint->id);
}

/* Takes one more checkpoint into the chain, or says why the walk ends before it. (transfer full) */
static char *
step (Walk *walk, const BkCheckpointInfo *checkpoint, const BkCheckpointDisk *entry)
{
  /* Also the size of an undone checkpoint tells how small the disk once was. */
  if (entry->size > walk->size)
    return shrank (walk, checkpoint, entry);
  walk->size = entry->size;
  const BkBitmap *bitmap = bk_disk_find_bitmap (walk->disk, entry->bitmap);
  if (!bk_checkpoint_chain_is_committed (entry)) {
    if (bitmap == NULL)
      return NULL;
    return g_strdup_printf ("checkpoint '%s' of an unfinished job has taken part of the changes", checkpoint->id);
  }
  if (walk->newer && g_strcmp0 (walk->newer->entry->parent, checkpoint->id) != 0)
    return gap (walk, checkpoint);
  char *fault = find_fault (walk->disk, checkpoint, entry, walk->newer == NULL);
  if (fault)
    return fault;
  BkCheckpointLink link = { checkpoint, entry, bitmap };
  g_array_append_val (walk->chain->links, link);
  walk->newer = bk_checkpoint_chain_link (walk->chain, walk->chain->links->len - 1);
  return NULL;
}

BkCheckpointChain *
bk_checkpoint_chain_new (const BkDisk *disk, GPtrArray *checkpoints)
{
  BkCheckpointChain *chain = g_new0 (BkCheckpointChain, 1);
  chain->links = g_array_new (FALSE, FALSE, sizeof (BkCheckpointLink));
  Walk walk = { disk, chain, NULL, disk->size };
  for (unsigned i = checkpoints->len; i > 0 && chain->end == NULL; i--) {
    const BkCheckpointInfo *checkpoint = checkpoints->pdata[i - 1];
    const BkCheckpointDisk *entry = bk_checkpoint_chain_entry (checkpoint, disk->name);
    if (entry)
      chain->end = step (&walk, checkpoint, entry);
  }
  return chain;
}

void
bk_checkpoint_chain_free (BkCheckpointChain *chain)
{
  g_array_unref (chain->links);
  g_free (chain->end);
  g_free (chain);
}

const BkCheckpointLink *
bk_checkpoint_chain_link (const BkCheckpointChain *chain, unsigned index)
{
  return &g_array_index (chain->links, BkCheckpointLink, index);
}

int
bk_checkpoint_chain_find (const BkCheckpointChain *chain, const BkCheckpointInfo *checkpoint)
{
  for (unsigned i = 0; i < chain->links->len; i++)
    if (bk_checkpoint_chain_link (chain, i)->checkpoint == checkpoint)
      return (int)i;
  return -1;
}

bool
bk_checkpoint_chain_parent (const BkDisk *disk, GPtrArray *checkpoints, BkCheckpointLink *parent)
{
  for (unsigned i = checkpoints->len; i > 0; i--) {
    const BkCheckpointInfo *checkpoint = checkpoints->pdata[i - 1];
    const BkCheckpointDisk *entry = bk_checkpoint_chain_entry (checkpoint, disk->name);
    if (entry == NULL || !bk_checkpoint_chain_is_committed (entry))
      continue;
    const BkBitmap *bitmap = bk_disk_find_bitmap (disk, entry->bitmap);
    *parent = (BkCheckpointLink){ checkpoint, entry, bitmap };
    return bitmap && !bitmap->inconsistent && !bitmap->busy && bitmap->recording;
  }
  return false;
}
