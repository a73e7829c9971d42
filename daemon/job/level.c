/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "level.h"

#include "checkpoint-chain.h"

typedef struct {
  const BkPlanInput *input;
  const BkDisk *disk;
  const BkCheckpointInfo *since; /* the only base wanted, or NULL */
  bool full_only;                /* only full backups will do */
  const BkCheckpointChain *chain;

  unsigned index; /* of the base in the chain */
  const BkBackupInfo *backup; /* that it stands on; NULL with a target of its own */
  char *obstacle; /* why the search was given up; NULL when there was just nothing */
} Search;

static const BkBackupDisk *
image_in (const BkBackupInfo *backup, const char *disk)
{
  for (unsigned i = 0; backup->disks && i < backup->disks->len; i++) {
    const BkBackupDisk *image = backup->disks->pdata[i];
    if (g_strcmp0 (image->name, disk) == 0)
      return image;
  }
  return NULL;
}

/* The image of the disk in @backup, if one can stand on it. */
static const BkBackupDisk *
usable_image (const Search *search, const BkBackupInfo *backup)
{
  const BkBackupDisk *image = image_in (backup, search->disk->name);
  bool usable = image && g_strcmp0 (image->state, "completed") == 0 &&
                (!search->full_only || g_strcmp0 (image->level, "full") == 0);
  return usable ? image : NULL;
}

/* Or a copy of it: that holds the same, in the repository where the increment goes. */
static const BkBackupInfo *
backup_of (const Search *search, const BkCheckpointInfo *checkpoint)
{
  GPtrArray *backups = search->input->backups;
  for (unsigned i = 0; checkpoint->backup_id && i < backups->len; i++) {
    const BkBackupInfo *backup = backups->pdata[i];
    if (g_strcmp0 (backup->id, checkpoint->backup_id) == 0 || g_strcmp0 (backup->copy_of, checkpoint->backup_id) == 0)
      return usable_image (search, backup) ? backup : NULL;
  }
  return NULL;
}

/* Names of disks may change hands ("virtio0" is just the first), and a checkpoint's bitmaps have the same
 * name on all its disks: then the bitmaps speak of another image than the one in the backup. */
static const char *
was_other_disk (const BkDisk *disk, const BkBackupInfo *backup)
{
  const BkBackupDisk *own = image_in (backup, disk->name);
  if (disk->file == NULL || disk->file[0] == '\0' || g_strcmp0 (own->source_file, disk->file) == 0)
    return NULL;
  for (unsigned i = 0; i < backup->disks->len; i++) {
    const BkBackupDisk *other = backup->disks->pdata[i];
    if (g_strcmp0 (other->source_file, disk->file) == 0)
      return other->name;
  }
  return NULL;
}

/* (transfer full) */
static char *
why_not_on (const Search *search, const BkCheckpointInfo *checkpoint)
{
  const char *other = was_other_disk (search->disk, search->backup);
  if (other)
    return g_strdup_printf ("its image '%s' was that of disk '%s' when checkpoint '%s' was made", search->disk->file, other, checkpoint->id);
  if (search->input->dedup && search->backup->damaged)
    return g_strdup_printf ("backup '%s' is damaged, and heals when all of the disk is read", search->backup->id);
  return NULL;
}

static bool
try_link (Search *search, unsigned index)
{
  const BkCheckpointInfo *checkpoint = bk_checkpoint_chain_link (search->chain, index)->checkpoint;
  search->index = index;
  if (search->input->repository == NULL)
    return true;
  search->backup = backup_of (search, checkpoint);
  if (search->backup == NULL)
    return false;
  search->obstacle = why_not_on (search, checkpoint);
  return search->obstacle == NULL;
}

static bool
find_since (Search *search)
{
  const BkCheckpointDisk *entry = bk_checkpoint_chain_entry (search->since, search->disk->name);
  if (entry == NULL || !bk_checkpoint_chain_is_committed (entry)) {
    search->obstacle = g_strdup_printf ("checkpoint '%s' does not cover it", search->since->id);
    return false;
  }
  int index = bk_checkpoint_chain_find (search->chain, search->since);
  if (index < 0) {
    search->obstacle = g_strdup (search->chain->end);
    return false;
  }
  if (try_link (search, (unsigned)index))
    return true;
  if (search->obstacle == NULL)
    search->obstacle = g_strdup_printf ("checkpoint '%s' has no backup of it in repository '%s'", search->since->id,
                                        search->input->repository);
  return false;
}

static bool
find_base (Search *search)
{
  if (search->since)
    return find_since (search);
  for (unsigned i = 0; i < search->chain->links->len && search->obstacle == NULL; i++)
    if (try_link (search, i))
      return true;
  return false;
}

static bool
repository_has_image (const Search *search)
{
  for (unsigned i = 0; i < search->input->backups->len; i++)
    if (usable_image (search, search->input->backups->pdata[i]))
      return true;
  return false;
}

/* Whether any checkpoint, however broken, goes with an image in the repository. */
static bool
has_candidate (const Search *search)
{
  for (unsigned i = 0; i < search->input->checkpoints->len; i++) {
    const BkCheckpointInfo *checkpoint = search->input->checkpoints->pdata[i];
    const BkCheckpointDisk *entry = bk_checkpoint_chain_entry (checkpoint, search->disk->name);
    if (entry && bk_checkpoint_chain_is_committed (entry) && backup_of (search, checkpoint))
      return true;
  }
  return false;
}

/* (transfer full) */
static char *
why_no_base (const Search *search)
{
  const char *repository = search->input->repository;
  const char *backups = search->full_only ? "full backups" : "backups";
  if (search->obstacle)
    return g_strdup (search->obstacle);
  if (repository == NULL)
    return g_strdup (search->chain->end ? search->chain->end : "it has no checkpoint yet");
  if (!repository_has_image (search))
    return g_strdup_printf (search->full_only ? "repository '%s' holds no full backup of this disk"
                                              : "first backup of this disk in repository '%s'", repository);
  if (has_candidate (search))
    return g_strdup (search->chain->end);
  if (search->disk->untracked)
    return g_strdup (search->disk->untracked);
  if (search->disk->read_only)
    return g_strdup ("the disk is read-only: changes of it cannot be tracked");
  return g_strdup_printf ("the %s of this disk in repository '%s' have no checkpoint any more", backups, repository);
}

static void
set_full (BkRunDisk *planned, const BkDisk *disk, const char *sync, const char *reason)
{
  planned->level = g_strdup ("full");
  planned->sync = g_strdup (sync ? sync : "full");
  planned->reason = g_strdup (reason);
  planned->estimated = disk->size;
}

static void
set_increment (BkRunDisk *planned, const Search *search, const char *level)
{
  const BkCheckpointInfo *base = bk_checkpoint_chain_link (search->chain, search->index)->checkpoint;
  g_autoptr (GStrvBuilder) bitmaps = g_strv_builder_new ();
  uint64_t dirty = 0;
  bool persistent = true, all = false;
  for (unsigned i = search->index + 1; i > 0; i--) { /* oldest first */
    const BkBitmap *bitmap = bk_checkpoint_chain_link (search->chain, i - 1)->bitmap;
    g_strv_builder_add (bitmaps, bitmap->name);
    dirty += all ? 0 : MIN (bitmap->count, search->disk->size - dirty);
    all |= bitmap->cumulative;
    persistent = persistent && bitmap->persistent;
  }
  planned->level = g_strdup (level);
  planned->sync = g_strdup ("bitmap");
  planned->base_bitmaps = g_strv_builder_end (bitmaps);
  planned->base_checkpoint = g_strdup (base->id);
  planned->parent_backup = search->backup ? g_strdup (search->backup->id) : NULL;
  planned->estimated = dirty;
  planned->reason = g_strdup_printf ("checkpoint '%s'%s is intact%s", base->id, search->full_only ? " of the last full backup" : "",
                                     persistent ? "" : ", in memory until the VM stops");
}

static const char *
why_full_at_once (const BkPlanInput *input, const char *level, bool differential)
{
  const BkBackupRequest *request = input->request;
  if (g_strcmp0 (request->sync, "top") == 0)
    return "full: what its top image holds was asked for";
  if (g_strcmp0 (level, "full") == 0)
    return "full was asked for";
  if (input->export && !differential)
    return "full: no checkpoint was named whose changes are wanted";
  if (g_strcmp0 (level, "auto") == 0 && !differential && request->target)
    return "full: it goes to a target of its own";
  return NULL;
}

/* What a disk that is read whole is compared with: see plan.h. */
static void
set_comparison (const BkPlanInput *input, const BkDisk *disk, BkRunDisk *planned)
{
  const Search search = { .input = input, .disk = disk };
  for (unsigned i = input->backups->len; input->dedup && i > 0 && planned->parent_backup == NULL; i--) {
    const BkBackupInfo *backup = input->backups->pdata[i - 1];
    if (usable_image (&search, backup) && !backup->damaged)
      planned->parent_backup = g_strdup (backup->id);
  }
}

static gboolean
decide (const BkPlanInput *input, const BkDisk *disk, const BkCheckpointInfo *since, BkRunDisk *planned, GError **error)
{
  const char *level = input->request->level ? input->request->level : "auto";
  bool differential = since || g_strcmp0 (level, "differential") == 0;
  const char *at_once = why_full_at_once (input, level, differential);
  if (at_once) {
    set_full (planned, disk, input->request->sync, at_once);
    return TRUE;
  }
  g_autoptr (BkCheckpointChain) chain = bk_checkpoint_chain_new (disk, input->checkpoints);
  Search search = { input, disk, since, differential && since == NULL, chain, 0, NULL, NULL };
  if (find_base (&search)) {
    set_increment (planned, &search, differential ? "differential" : "incremental");
    return TRUE;
  }
  g_autofree char *reason = why_no_base (&search);
  g_free (search.obstacle);
  if (input->export || (g_strcmp0 (level, "auto") == 0 && !differential)) {
    set_full (planned, disk, "full", reason);
    return TRUE;
  }
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "disk '%s': no %s backup is possible: %s; ask for level auto or full",
               disk->name, differential ? "differential" : "incremental", reason);
  return FALSE;
}

gboolean
bk_level_decide (const BkPlanInput *input, const BkDisk *disk, const BkCheckpointInfo *since, BkRunDisk *planned,
                 GError **error)
{
  if (!decide (input, disk, since, planned, error))
    return FALSE;
  set_comparison (input, disk, planned);
  return TRUE;
}
