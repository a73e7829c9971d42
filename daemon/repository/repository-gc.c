/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What nothing leads to any more, and how much all of it is. Marks are made from manifests, trash and leases; a manifest
 * that cannot be read ends it before anything is freed.
 */
#include "repository-private.h"

#include "cancel.h"
#include "damage-record.h"

#include <string.h>

typedef struct {
  BkRepository *repository;
  GCancellable *cancellable;
  BkRepositoryProgress progress;
  gpointer user_data;
  uint64_t done, total;
  uint64_t bytes_unique, bytes_live, chunks; /* marked */
  uint64_t bytes_data;                       /* with repetition */
  bool counts_data; /* for statistics: repetitions as well, and in spite of damage */
  uint32_t chunk_size;
} Mark;

/* What is marked was walked already, with all below it. To count repetitions all must be walked. */
static BkWalkAction
mark_id (const BkChunkId *id, unsigned level, uint64_t first G_GNUC_UNUSED, uint64_t count G_GNUC_UNUSED, gpointer user_data, GError **error)
{
  Mark *mark = user_data;
  uint32_t stored = 0, length = 0;
  if (bk_chunk_id_is_none (id))
    return BK_WALK_PASS;
  if (level == 1 && !bk_cancel_check (mark->cancellable, error))
    return BK_WALK_STOP;
  if (level == 0)
    mark->bytes_data += mark->chunk_size;
  if (bk_chunk_store_mark (mark->repository->store, id, &stored, &length)) {
    mark->bytes_unique += length;
    mark->bytes_live += stored;
    mark->chunks++;
    return BK_WALK_DOWN;
  }
  /* A page that is missing is walked into, so that the walk tells of it. */
  bool missing = level > 0 && !bk_chunk_store_has (mark->repository->store, id, &stored, &length);
  return mark->counts_data || missing ? BK_WALK_DOWN : BK_WALK_PASS;
}

static gboolean
on_damaged (uint64_t first G_GNUC_UNUSED, uint64_t count G_GNUC_UNUSED, const GError *why, gpointer user_data G_GNUC_UNUSED)
{
  g_debug ("%s", why->message);
  return TRUE;
}

static gboolean
mark_map (Mark *mark, const BkChunkId *root, uint64_t chunks, GError **error)
{
  const BkWalk walk = { .visit = mark_id, .damaged = mark->counts_data ? on_damaged : NULL, .user_data = mark };
  return bk_image_map_walk (mark->repository->store, root, chunks, &walk, error);
}

static void
mark_blobs (Mark *mark, const BkBackupRecord *record)
{
  for (unsigned i = 0; record->blobs && i < record->blobs->len; i++) {
    BkChunkId id;
    uint32_t stored = 0, length = 0;
    if (bk_hex_decode (((const BkRecordBlob *)record->blobs->pdata[i])->id, id.id, sizeof id.id) &&
        bk_chunk_store_mark (mark->repository->store, &id, &stored, &length)) {
      mark->bytes_unique += length;
      mark->bytes_live += stored;
      mark->chunks++;
    }
  }
}

static gboolean
mark_record (Mark *mark, const BkBackupRecord *record, GError **error)
{
  for (unsigned i = 0; record->disks && i < record->disks->len; i++) {
    const BkRecordDisk *disk = record->disks->pdata[i];
    BkChunkId root = bk_record_disk_root (disk);
    mark->chunk_size = (uint32_t)disk->chunk_size;
    if (mark_map (mark, &root, bk_disk_chunks (disk->size, mark->chunk_size), error))
      continue;
    /* What lies below a page that cannot be read is not known: it may be live. */
    g_prefix_error (error, "backup '%s', disk '%s' is damaged; verify it, and delete it when it does not heal: ", record->backup->id, disk->name);
    return FALSE;
  }
  mark_blobs (mark, record);
  if (mark->progress)
    mark->progress (++mark->done, mark->total, mark->user_data);
  return TRUE;
}

static gboolean
mark_records (Mark *mark, GPtrArray *records, GError **error)
{
  for (unsigned i = 0; i < records->len; i++)
    if (!mark_record (mark, records->pdata[i], error))
      return FALSE;
  return TRUE;
}

/* Maps that readers and writers of this process work with: BkLease, (transfer full). */
static GArray *
copy_leases (BkRepository *repository)
{
  GHashTableIter iter;
  gpointer lease;
  GArray *leases = g_array_new (FALSE, FALSE, sizeof (BkLease));
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&repository->mutex);
  g_hash_table_iter_init (&iter, repository->leases);
  while (g_hash_table_iter_next (&iter, &lease, NULL))
    g_array_append_vals (leases, lease, 1);
  return leases;
}

static gboolean
mark_leases (Mark *mark, GArray *leases, GError **error)
{
  for (unsigned i = 0; i < leases->len; i++) {
    const BkLease *lease = &g_array_index (leases, BkLease, i);
    if (!mark_map (mark, &lease->root, lease->chunks, error))
      return FALSE;
  }
  return TRUE;
}

/* --- the trash --- */

static bool
has_expired (const BkBackupInfo *info, uint64_t grace_seconds)
{
  int64_t age = g_get_real_time () - info->deleted_at;
  return age >= 0 && (uint64_t)age / G_USEC_PER_SEC >= grace_seconds;
}

static gboolean
purge (BkRepository *repository, const BkBackupInfo *info, GError **error)
{
  g_autofree char *name = bk_repository_object ("trash", info->vm, info->id);
  g_autofree char *path = g_strdup_printf ("%s.%" G_GINT64_FORMAT, name, info->deleted_at);
  if (!bk_storage_remove (repository->storage, path, error))
    return FALSE;
  if (!bk_repository_has (repository, info->vm, info->id))
    bk_damage_record_remove (repository, info->vm, info->id);
  return TRUE;
}

/* Expired backups leave the trash, or, in a dry run, only the list. */
static gboolean
empty_trash (BkRepository *repository, GPtrArray *trash, uint64_t grace_seconds, bool dry_run, BkRepositoryGc *result, GError **error)
{
  result->trash_held = bk_repository_has_other_readers (repository);
  for (unsigned i = 0; i < trash->len && !result->trash_held;) {
    const BkBackupRecord *record = trash->pdata[i];
    if (!has_expired (record->backup, grace_seconds)) {
      i++;
      continue;
    }
    if (!dry_run && !purge (repository, record->backup, error))
      return FALSE;
    result->trash_purged++;
    g_ptr_array_remove_index (trash, i);
  }
  return TRUE;
}

/* --- gc --- */

static void
fill_in_dry (BkRepository *repository, BkRepositoryGc *result)
{
  BkChunkUsage usage;
  bk_chunk_store_usage (repository->store, &usage);
  result->packs_removed = usage.dead_packs;
  result->packs_rewritten = usage.sparse_packs;
  result->bytes_freed = usage.dead_bytes + usage.sparse_bytes;
  result->bytes_rewritten = usage.sparse_live;
  result->packs_in_use = usage.held;
}

static gboolean
sweep (BkRepository *repository, GCancellable *cancellable, BkRepositoryGc *result, GError **error)
{
  BkChunkSweep swept = { 0 };
  gboolean ok = bk_storage_tidy (repository->storage, repository->opened_at, &result->debris_removed, error) && bk_chunk_store_sweep (repository->store, cancellable, &swept, error);
  result->packs_removed += swept.removed;
  result->packs_rewritten += swept.rewritten;
  result->bytes_freed += swept.freed;
  result->bytes_rewritten += swept.moved;
  result->packs_in_use = swept.held;
  return ok;
}

/* What leads to live chunks: leases, the trash as it is left, and the backups. In this order: who ends after the first has a lease
 * there, who ended before has a manifest. */
static gboolean
list_live (BkRepository *repository, uint64_t grace_seconds, gboolean dry_run, BkRepositoryGc *result, GArray **leases, GPtrArray **trash,
           GPtrArray **records, GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&repository->moving);
  *leases = copy_leases (repository);
  *trash = bk_repository_read_trash (repository, true, error);
  if (*trash == NULL || !empty_trash (repository, *trash, grace_seconds, dry_run, result, error))
    return FALSE;
  *records = bk_repository_read_records (repository, true, error);
  return *records != NULL;
}

static gboolean
mark_and_sweep (Mark *mark, uint64_t grace_seconds, gboolean dry_run, BkRepositoryGc *result, GError **error)
{
  BkRepository *repository = mark->repository;
  g_autoptr (GPtrArray) trash = NULL;
  g_autoptr (GPtrArray) records = NULL;
  g_autoptr (GArray) leases = NULL;
  if (!list_live (repository, grace_seconds, dry_run, result, &leases, &trash, &records, error))
    return FALSE;
  mark->total = records->len + trash->len;
  if (!mark_records (mark, records, error) || !mark_records (mark, trash, error) || !mark_leases (mark, leases, error))
    return FALSE;
  if (!dry_run)
    return sweep (repository, mark->cancellable, result, error);
  fill_in_dry (repository, result);
  return TRUE;
}

static gboolean
begin_marks (BkRepository *repository, GError **error)
{
  if (bk_chunk_store_begin_marks (repository->store))
    return TRUE;
  g_set_error_literal (error, BK_ERROR, BK_ERROR_CONFLICT, "the repository is being verified or cleaned up already; wait until that has ended");
  return FALSE;
}

gboolean
bk_repository_gc (BkRepository *repository, uint64_t grace_seconds, gboolean dry_run, BkRepositoryProgress progress, gpointer user_data,
                  GCancellable *cancellable, BkRepositoryGc *result, GError **error)
{
  *result = (BkRepositoryGc){ 0 };
  if ((!dry_run && !bk_repository_check_writable (repository, error)) || !begin_marks (repository, error))
    return FALSE;
  Mark mark = { .repository = repository, .cancellable = cancellable, .progress = progress, .user_data = user_data };
  g_autoptr (GError) failure = NULL;
  gboolean ok = mark_and_sweep (&mark, grace_seconds, dry_run, result, &failure);
  if (bk_chunk_store_marks_lost (repository->store)) {
    g_clear_error (&failure);
    bk_chunk_store_end_marks (repository->store);
    if (!begin_marks (repository, error))
      return FALSE;
    ok = mark_and_sweep (&mark, grace_seconds, dry_run, result, &failure);
  }
  bk_chunk_store_end_marks (repository->store);
  if (failure)
    g_propagate_error (error, g_steal_pointer (&failure));
  return ok;
}

/* --- statistics --- */

static gboolean
collect (Mark *mark, BkRepositoryStats *stats, GError **error)
{
  g_autoptr (GPtrArray) records = bk_repository_read_records (mark->repository, false, error);
  g_autoptr (GPtrArray) trash = records ? bk_repository_read_trash (mark->repository, false, error) : NULL;
  if (trash == NULL || !mark_records (mark, records, error))
    return FALSE;
  stats->backups = records->len;
  stats->trashed = trash->len;
  stats->bytes_data = mark->bytes_data;
  stats->bytes_unique = mark->bytes_unique;
  stats->bytes_live = mark->bytes_live;
  stats->chunks = mark->chunks;
  for (unsigned i = 0; i < records->len; i++) {
    const BkBackupRecord *record = records->pdata[i];
    for (unsigned d = 0; record->disks && d < record->disks->len; d++)
      stats->bytes_logical += ((const BkRecordDisk *)record->disks->pdata[d])->size;
  }
  return TRUE;
}

gboolean
bk_repository_stats (BkRepository *repository, GCancellable *cancellable, BkRepositoryStats *stats, GError **error)
{
  BkChunkUsage usage;
  *stats = (BkRepositoryStats){ 0 };
  if (!begin_marks (repository, error))
    return FALSE;
  Mark mark = { .repository = repository, .cancellable = cancellable, .counts_data = true };
  gboolean ok = collect (&mark, stats, error);
  bool lost = bk_chunk_store_marks_lost (repository->store);
  if (ok)
    bk_chunk_store_usage (repository->store, &usage);
  bk_chunk_store_end_marks (repository->store);
  if (ok && lost)
    g_set_error_literal (error, BK_ERROR, BK_ERROR_FAILED, "the index was damaged and has been made anew; nothing is lost: try again");
  if (!ok || lost)
    return FALSE;
  stats->packs = usage.packs;
  stats->bytes_stored = usage.bytes;
  stats->bytes_garbage = usage.dead_bytes + usage.sparse_bytes;
  stats->dedup_ratio = stats->bytes_unique ? (double)stats->bytes_data / (double)stats->bytes_unique : 0;
  stats->compression_ratio = stats->bytes_live ? (double)stats->bytes_unique / (double)stats->bytes_live : 0;
  return TRUE;
}

uint64_t
bk_repository_bytes_stored (BkRepository *repository)
{
  return bk_chunk_store_bytes (repository->store);
}
