/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "queue-private.h"

#include <string.h>

static const BkBackupDisk *
find_disk (const BkBackupInfo *backup, const char *name)
{
  for (unsigned i = 0; backup->disks && i < backup->disks->len; i++) {
    const BkBackupDisk *disk = backup->disks->pdata[i];
    if (strcmp (disk->name, name) == 0)
      return disk;
  }
  return NULL;
}

/* A delete of @backup claims the same. */
static void
claim_backup (BkClaims *claims, const char *backup)
{
  bk_claims_add_refusing (claims, "backup '%s'", backup);
}

/* The backup, and those that its image of @disk stands on. A parent that is gone ends the chain: there is nothing to keep. */
static BkClaims *
claim_chain (BkQueue *queue, const BkBackupInfo *backup, const char *disk)
{
  BkClaims *claims = bk_claims_new ();
  g_autoptr (BkBackupInfo) parent = NULL;
  g_autoptr (GHashTable) seen = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  while (backup && g_hash_table_add (seen, g_strdup (backup->id))) {
    const BkBackupDisk *image = find_disk (backup, disk);
    BkBackupInfo *next = image && image->parent ? bk_catalog_get_backup (queue->catalog, image->parent, NULL) : NULL;
    claim_backup (claims, backup->id);
    g_clear_pointer (&parent, bk_backup_info_free);
    backup = parent = next;
  }
  return claims;
}

static bool
is_in_packs (BkQueue *queue, const BkBackupInfo *backup)
{
  g_autoptr (BkStore) store = backup->repository ? bk_repository_registry_open (queue->repositories, backup->repository, NULL) : NULL;
  return store && bk_store_is_dedup (store);
}

BkQueueHold *
bk_queue_hold_disk (BkQueue *queue, const BkBackupInfo *backup, const char *disk, const char *why, GError **error)
{
  g_autoptr (BkClaims) claims = is_in_packs (queue, backup) ? bk_claims_new () : claim_chain (queue, backup, disk);
  /* Others that read it are in nobody's way. */
  if (!bk_queue_check_jobs (queue, claims, error))
    return NULL;
  BkQueueHold *hold = g_new0 (BkQueueHold, 1);
  hold->queue = queue;
  hold->claims = g_steal_pointer (&claims);
  hold->why = g_strdup (why);
  g_ptr_array_add (queue->holds, hold);
  return hold;
}

void
bk_queue_hold_free (BkQueueHold *hold)
{
  g_ptr_array_remove (hold->queue->holds, hold);
  bk_claims_free (hold->claims);
  g_free (hold->why);
  g_free (hold);
}
