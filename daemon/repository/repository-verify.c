/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Verification in two passes: the first reads each chunk that the backups lead to, once, with several threads; the second,
 * where something was bad, walks the maps again and tells what each backup has lost.
 */
#include "repository-private.h"

#include "cancel.h"
#include "damage-record.h"

#include <string.h>

#define MAX_RANGES 10000u
#define MAX_WORKERS 16u
#define QUEUE 256u /* chunks that wait for a worker */
#define LONGEST_WAIT_US (G_USEC_PER_SEC / 5) /* a cancel wakes nobody */

typedef struct {
  BkChunkId id;
  uint32_t length;
} Job;

typedef struct {
  BkRepository *repository;
  GCancellable *cancellable;
  BkRate *rate; /* or NULL */
  BkRepositoryProgress progress;
  gpointer user_data;
  BkRepositoryVerify *result;
  uint64_t total;

  GMutex mutex;
  GCond changed;
  unsigned waiting;    /* jobs that no worker has finished */
  GHashTable *bad;     /* set of BkChunkId: chunks and pages that cannot be read */
  GError *error;       /* what ends the pass */
  int64_t told;
} Verify;

static unsigned
hash_id (gconstpointer key)
{
  unsigned hash;
  memcpy (&hash, key, sizeof hash);
  return hash;
}

static gboolean
equal_ids (gconstpointer a, gconstpointer b)
{
  return bk_chunk_id_equal (a, b);
}

/* With the mutex. */
static void
add_bad (Verify *verify, const BkChunkId *id)
{
  g_hash_table_add (verify->bad, g_memdup2 (id, sizeof *id));
}

/* --- the first pass --- */

static void
finish_job (Verify *verify, const Job *job, GError *failure)
{
  g_mutex_lock (&verify->mutex);
  verify->waiting--;
  verify->result->chunks++;
  verify->result->bytes += job->length;
  if (g_error_matches (failure, BK_ERROR, BK_ERROR_CORRUPT))
    add_bad (verify, &job->id);
  else if (failure && verify->error == NULL)
    verify->error = g_error_copy (failure);
  int64_t now = g_get_monotonic_time ();
  bool tell = verify->progress && now - verify->told > G_USEC_PER_SEC / 4;
  if (tell)
    verify->told = now;
  uint64_t done = verify->result->bytes;
  g_cond_broadcast (&verify->changed);
  g_mutex_unlock (&verify->mutex);
  if (tell)
    verify->progress (done, MAX (done, verify->total), verify->user_data);
}

static void
check_chunk (gpointer data, gpointer user_data)
{
  Verify *verify = user_data;
  g_autofree Job *job = data;
  g_autoptr (GError) failure = NULL;
  g_autofree uint8_t *content = g_malloc (job->length);
  /* When it is cancelled, what waits in the queue is dropped: with large chunks that is much. */
  if (!g_cancellable_is_cancelled (verify->cancellable) &&
      !bk_chunk_store_get (verify->repository->store, NULL, BK_CHUNK_DATA, &job->id, content, job->length, &failure))
    g_debug ("%s", failure->message);
  finish_job (verify, job, failure);
}

typedef struct {
  Verify *verify;
  GThreadPool *pool;
  uint32_t chunk_size;
} Pass;

/* With the mutex: how long the next read has to wait; 0 = it may begin. */
static int64_t
time_to_wait (Verify *verify, uint32_t length)
{
  if (verify->waiting >= QUEUE)
    return LONGEST_WAIT_US;
  return verify->rate ? bk_rate_take (verify->rate, length, g_get_monotonic_time ()) : 0;
}

/* Until @length bytes more may be read. */
static gboolean
may_go_on (Verify *verify, uint32_t length, GError **error)
{
  int64_t wait;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&verify->mutex);
  while (verify->error == NULL && bk_cancel_check (verify->cancellable, error)) {
    if ((wait = time_to_wait (verify, length)) == 0)
      return TRUE;
    g_cond_wait_until (&verify->changed, &verify->mutex, g_get_monotonic_time () + MIN (wait, LONGEST_WAIT_US));
  }
  return FALSE;
}

static BkWalkAction
visit_once (const BkChunkId *id, unsigned level, uint64_t first G_GNUC_UNUSED, uint64_t count G_GNUC_UNUSED, gpointer user_data, GError **error)
{
  Pass *pass = user_data;
  Verify *verify = pass->verify;
  uint32_t stored = 0, length = 0;
  if (bk_chunk_id_is_none (id))
    return BK_WALK_PASS;
  if (!bk_chunk_store_has (verify->repository->store, id, &stored, &length)) {
    g_mutex_lock (&verify->mutex);
    add_bad (verify, id);
    g_mutex_unlock (&verify->mutex);
    return BK_WALK_PASS;
  }
  if (!bk_chunk_store_mark (verify->repository->store, id, &stored, &length))
    return BK_WALK_PASS;
  if (!may_go_on (verify, length, error))
    return BK_WALK_STOP;
  if (level > 0) {
    /* Pages are read by the walk itself. */
    BkPage *page = g_new (BkPage, 1);
    bool right = bk_image_map_read_page (verify->repository->store, id, page, NULL);
    g_free (page);
    g_mutex_lock (&verify->mutex);
    verify->result->chunks++;
    verify->result->bytes += length;
    if (!right)
      add_bad (verify, id);
    g_mutex_unlock (&verify->mutex);
    return right ? BK_WALK_DOWN : BK_WALK_PASS;
  }
  Job *job = g_new0 (Job, 1);
  job->id = *id;
  job->length = pass->chunk_size;
  g_mutex_lock (&verify->mutex);
  verify->waiting++;
  g_mutex_unlock (&verify->mutex);
  g_thread_pool_push (pass->pool, job, NULL);
  return BK_WALK_PASS;
}

static gboolean
check_record (Verify *verify, GThreadPool *pool, const BkBackupRecord *record, GError **error)
{
  for (unsigned i = 0; record->disks && i < record->disks->len; i++) {
    const BkRecordDisk *disk = record->disks->pdata[i];
    Pass pass = { verify, pool, (uint32_t)disk->chunk_size };
    const BkWalk walk = { .visit = visit_once, .user_data = &pass };
    BkChunkId root = bk_record_disk_root (disk);
    if (!bk_image_map_walk (verify->repository->store, &root, bk_disk_chunks (disk->size, pass.chunk_size), &walk, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
check_all (Verify *verify, GPtrArray *records, unsigned workers, GError **error)
{
  unsigned threads = workers ? workers : g_get_num_processors ();
  GThreadPool *pool = g_thread_pool_new (check_chunk, verify, (int)CLAMP (threads, 1, MAX_WORKERS), FALSE, NULL);
  gboolean ok = TRUE;
  for (unsigned i = 0; ok && i < records->len; i++)
    ok = check_record (verify, pool, records->pdata[i], error);
  g_thread_pool_free (pool, FALSE, TRUE);
  if (verify->error) {
    g_clear_error (error);
    g_propagate_error (error, g_steal_pointer (&verify->error));
    return FALSE;
  }
  return ok;
}

/* --- blobs --- */

static void
check_blobs (Verify *verify, const BkBackupRecord *record, GPtrArray *ranges)
{
  for (unsigned i = 0; record->blobs && i < record->blobs->len; i++) {
    const BkRecordBlob *blob = record->blobs->pdata[i];
    g_autoptr (GError) failure = NULL;
    size_t length = 0;
    g_autofree char *data = bk_repository_read_blob (verify->repository, record->backup->vm, record->backup->id, blob->name, &length, &failure);
    if (data)
      continue;
    BkDamageRange *range = g_new0 (BkDamageRange, 1);
    range->reason = g_strdup_printf ("'%s': %s", blob->name, failure->message);
    g_ptr_array_add (ranges, range);
  }
}

/* --- the second pass --- */

typedef struct {
  Verify *verify;
  const BkRecordDisk *disk;
  GPtrArray *ranges; /* BkDamageRange */
} Blame;

static void
add_range (Blame *blame, uint64_t first, uint64_t count)
{
  uint64_t chunk = blame->disk->chunk_size, offset = first * chunk;
  uint64_t length = MIN (count * chunk, blame->disk->size - offset);
  BkDamageRange *last = blame->ranges->len ? blame->ranges->pdata[blame->ranges->len - 1] : NULL;
  if (last && g_strcmp0 (last->disk, blame->disk->name) == 0 && last->offset + last->length == offset) {
    last->length += length;
    return;
  }
  if (blame->ranges->len >= MAX_RANGES)
    return;
  BkDamageRange *range = g_new0 (BkDamageRange, 1);
  range->disk = g_strdup (blame->disk->name);
  range->offset = offset;
  range->length = length;
  range->reason = g_strdup ("what is stored of it is missing or damaged");
  g_ptr_array_add (blame->ranges, range);
}

static BkWalkAction
visit_bad (const BkChunkId *id, unsigned level, uint64_t first, uint64_t count, gpointer user_data, GError **error)
{
  Blame *blame = user_data;
  if (!bk_cancel_check (blame->verify->cancellable, error))
    return BK_WALK_STOP;
  if (bk_chunk_id_is_none (id))
    return BK_WALK_PASS;
  if (!g_hash_table_contains (blame->verify->bad, id))
    return level > 0 ? BK_WALK_DOWN : BK_WALK_PASS;
  add_range (blame, first, count);
  return BK_WALK_PASS;
}

static gboolean
on_damaged_page (uint64_t first, uint64_t count, const GError *why G_GNUC_UNUSED, gpointer user_data)
{
  add_range (user_data, first, count);
  return TRUE;
}

static gboolean
blame_disks (Verify *verify, const BkBackupRecord *record, GPtrArray *ranges, GError **error)
{
  for (unsigned i = 0; g_hash_table_size (verify->bad) > 0 && record->disks && i < record->disks->len; i++) {
    const BkRecordDisk *disk = record->disks->pdata[i];
    Blame blame = { verify, disk, ranges };
    const BkWalk walk = { .visit = visit_bad, .damaged = on_damaged_page, .user_data = &blame };
    BkChunkId root = bk_record_disk_root (disk);
    if (!bk_image_map_walk (verify->repository->store, &root, bk_disk_chunks (disk->size, (uint32_t)disk->chunk_size), &walk, error))
      return FALSE;
  }
  return TRUE;
}

static void
report (Verify *verify, const BkBackupInfo *info, GPtrArray *ranges)
{
  for (unsigned i = 0; i < ranges->len && verify->result->damage->len < MAX_RANGES; i++) {
    const BkDamageRange *range = ranges->pdata[i];
    BkRepositoryDamage *damage = g_new0 (BkRepositoryDamage, 1);
    damage->vm = g_strdup (info->vm);
    damage->backup = g_strdup (info->id);
    damage->disk = g_strdup (range->disk);
    damage->offset = range->offset;
    damage->length = range->length;
    damage->reason = g_strdup (range->reason);
    g_ptr_array_add (verify->result->damage, damage);
  }
}

/* @checked: all of it was read, so that a good result is one, too. */
static gboolean
blame (Verify *verify, const BkBackupRecord *record, bool checked, GError **error)
{
  g_autoptr (GPtrArray) ranges = g_ptr_array_new ();
  const BkBackupInfo *info = record->backup;
  if (checked)
    check_blobs (verify, record, ranges);
  gboolean ok = blame_disks (verify, record, ranges, error);
  BkDamageRecord *found = g_new0 (BkDamageRecord, 1);
  found->verified_at = g_get_real_time ();
  found->ranges = g_steal_pointer (&ranges);
  if (ok) {
    report (verify, info, found->ranges);
    if (verify->repository->access == BK_REPOSITORY_WRITE && (checked || found->ranges->len > 0))
      bk_damage_record_write (verify->repository, info->vm, info->id, found);
  }
  bk_damage_record_free (found);
  return ok;
}

/* Backups that were not asked for share chunks with those that were. */
static gboolean
blame_all (Verify *verify, GPtrArray *records, const char *backup, GError **error)
{
  for (unsigned i = 0; i < records->len; i++) {
    const BkBackupRecord *record = records->pdata[i];
    bool checked = backup == NULL || strcmp (record->backup->id, backup) == 0;
    if ((checked || g_hash_table_size (verify->bad) > 0) && !blame (verify, record, checked, error))
      return FALSE;
  }
  return TRUE;
}

/* --- the whole --- */

static gboolean
run (Verify *verify, const char *vm, const char *backup, unsigned workers, GError **error)
{
  g_autoptr (GPtrArray) all = bk_repository_read_records (verify->repository, false, error);
  g_autoptr (GPtrArray) chosen = g_ptr_array_new ();
  for (unsigned i = 0; all && i < all->len; i++) {
    BkBackupRecord *record = all->pdata[i];
    bool wanted = backup == NULL || (strcmp (record->backup->id, backup) == 0 && strcmp (record->backup->vm, vm) == 0);
    if (wanted)
      g_ptr_array_add (chosen, record);
    for (unsigned d = 0; wanted && record->disks && d < record->disks->len; d++)
      verify->total += ((const BkRecordDisk *)record->disks->pdata[d])->bytes_in;
  }
  if (all == NULL)
    return FALSE;
  if (backup && chosen->len == 0) {
    g_autoptr (BkBackupRecord) why = bk_repository_read_record (verify->repository, vm, backup, error);
    g_assert (why == NULL);
    return FALSE;
  }
  verify->result->backups = chosen->len;
  if (!check_all (verify, chosen, workers, error))
    return FALSE;
  if (verify->progress)
    verify->progress (verify->result->bytes, verify->result->bytes, verify->user_data);
  verify->result->bad_chunks = g_hash_table_size (verify->bad);
  return blame_all (verify, all, backup, error);
}

BkRepositoryVerify *
bk_repository_verify (BkRepository *repository, const char *vm, const char *backup, unsigned workers, BkRate *rate,
                      BkRepositoryProgress progress, gpointer user_data, GCancellable *cancellable, GError **error)
{
  if (!bk_chunk_store_begin_marks (repository->store)) {
    g_set_error_literal (error, BK_ERROR, BK_ERROR_CONFLICT, "the repository is being verified or cleaned up already; wait until that has ended");
    return NULL;
  }
  Verify verify = { .repository = repository, .cancellable = cancellable, .rate = rate, .progress = progress, .user_data = user_data };
  verify.result = g_new0 (BkRepositoryVerify, 1);
  verify.result->damage = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_repository_damage_free);
  verify.bad = g_hash_table_new_full (hash_id, equal_ids, g_free, NULL);
  g_mutex_init (&verify.mutex);
  g_cond_init (&verify.changed);
  if (!run (&verify, vm, backup, workers, error))
    g_clear_pointer (&verify.result, bk_repository_verify_free);
  bk_chunk_store_end_marks (repository->store);
  g_hash_table_unref (verify.bad);
  g_mutex_clear (&verify.mutex);
  g_cond_clear (&verify.changed);
  return verify.result;
}

void
bk_repository_verify_free (BkRepositoryVerify *verify)
{
  g_ptr_array_unref (verify->damage);
  g_free (verify);
}

void
bk_repository_damage_free (BkRepositoryDamage *damage)
{
  g_free (damage->vm);
  g_free (damage->backup);
  g_free (damage->disk);
  g_free (damage->reason);
  g_free (damage);
}

GPtrArray *
bk_repository_read_damage (BkRepository *repository, const char *vm, const char *backup, GError **error)
{
  GPtrArray *list = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_repository_damage_free);
  g_autoptr (BkDamageRecord) record = bk_damage_record_read (repository, vm, backup);
  (void)error;
  for (unsigned i = 0; record && record->ranges && i < record->ranges->len; i++) {
    const BkDamageRange *range = record->ranges->pdata[i];
    BkRepositoryDamage *damage = g_new0 (BkRepositoryDamage, 1);
    damage->vm = g_strdup (vm);
    damage->backup = g_strdup (backup);
    damage->disk = g_strdup (range->disk);
    damage->offset = range->offset;
    damage->length = range->length;
    damage->reason = g_strdup (range->reason);
    g_ptr_array_add (list, damage);
  }
  return list;
}
