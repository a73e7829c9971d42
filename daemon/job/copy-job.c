/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "copy-job.h"

#include "cancel.h"
#include "copies.h"
#include "disk-progress.h"
#include "repository.h"
#include "ulid.h"

#include <string.h>

/* How long the worker sleeps at most: pause, speed and cancel take effect within it. */
#define WAIT_MS 500

typedef struct {
  BkStore *from, *to;
  char *repository;
  BkBackupInfo *backup;
  char *id;
  GPtrArray *pairs; /* BkCopyPair */
  GArray *disks;    /* BkDiskProgress, of the completed disks of the backup */
  BkRepositoryCopy *copy; /* NULL before it is begun, and where an earlier daemon has finished it */
  BkCopies *copies;
} Copy;

/* --- life --- */

void
bk_copy_pair_free (BkCopyPair *pair)
{
  g_free (pair->here);
  g_free (pair->there);
  g_free (pair);
}

static gboolean
undo_copy (BkJob *job G_GNUC_UNUSED, gpointer data, GError **error G_GNUC_UNUSED)
{
  Copy *self = data;
  g_clear_pointer (&self->copies, bk_copies_free);
  g_clear_pointer (&self->copy, bk_repository_copy_free);
  return TRUE;
}

static void
copy_free (gpointer data)
{
  Copy *self = data;
  g_clear_pointer (&self->copies, bk_copies_free);
  g_clear_pointer (&self->copy, bk_repository_copy_free);
  bk_store_unref (self->from);
  bk_store_unref (self->to);
  bk_backup_info_free (self->backup);
  g_free (self->repository);
  g_free (self->id);
  g_ptr_array_unref (self->pairs);
  g_array_unref (self->disks);
  g_free (self);
}

static bool
is_copied (const BkBackupDisk *disk)
{
  return strcmp (disk->state, "completed") == 0;
}

gpointer
bk_copy_job_data_new (BkStore *from, BkStore *to, const char *repository, const BkBackupInfo *backup, GPtrArray *pairs, const char *id)
{
  Copy *self = g_new0 (Copy, 1);
  self->from = bk_store_ref (from);
  self->to = bk_store_ref (to);
  self->repository = g_strdup (repository);
  self->backup = bk_struct_copy (&bk_backup_info_struct, backup);
  self->pairs = pairs;
  self->disks = g_array_new (FALSE, TRUE, sizeof (BkDiskProgress));
  self->id = id ? g_strdup (id) : bk_ulid_new ();
  for (unsigned i = 0; i < backup->disks->len; i++) {
    const BkBackupDisk *disk = backup->disks->pdata[i];
    const BkDiskProgress row = { .size = disk->size };
    if (is_copied (disk))
      g_array_append_val (self->disks, row);
  }
  return self;
}

const char *
bk_copy_job_id (gpointer data)
{
  return ((const Copy *)data)->id;
}

static BkDiskProgress *
disk_at (const Copy *self, unsigned index)
{
  return &g_array_index (self->disks, BkDiskProgress, index);
}

GPtrArray *
bk_copy_job_disks (gpointer data)
{
  const Copy *self = data;
  GPtrArray *rows = g_ptr_array_new ();
  for (unsigned i = 0; i < self->backup->disks->len; i++) {
    const BkBackupDisk *disk = self->backup->disks->pdata[i];
    if (!is_copied (disk))
      continue;
    BkJobDisk *row = bk_disk_progress_row (disk_at (self, rows->len), disk->name);
    row->level = g_strdup (disk->level);
    g_ptr_array_add (rows, row);
  }
  return rows;
}

/* --- work --- */

static const BkCopyPair *
find_base (const Copy *self)
{
  for (unsigned i = 0; i < self->pairs->len; i++) {
    const BkCopyPair *pair = self->pairs->pdata[i];
    if (bk_store_has (self->from, self->backup->vm, pair->here) && bk_store_has (self->to, self->backup->vm, pair->there))
      return pair;
  }
  return NULL;
}

static gboolean
work_prepare (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  Copy *self = data;
  if (bk_store_has (self->to, self->backup->vm, self->id))
    return TRUE; /* before a restart */
  const BkCopyPair *base = find_base (self);
  const BkRepositoryCopyOf of = { self->backup->vm, self->backup->id, self->id, base ? base->here : NULL, base ? base->there : NULL };
  self->copy = bk_repository_copy_begin (bk_store_repository (self->from), bk_store_repository (self->to), &of, error);
  return self->copy != NULL;
}

static gboolean
begin_copies (Copy *self, uint64_t speed, GError **error)
{
  self->copies = bk_copies_new (speed);
  for (unsigned i = 0; i < bk_repository_copy_disks (self->copy); i++) {
    BkReader *reader = NULL;
    BkSink *sink = NULL;
    if (!bk_repository_copy_open (self->copy, i, &reader, &sink, error))
      return FALSE;
    bk_disk_progress_set (disk_at (self, bk_copies_add (self->copies, reader, sink)), BK_DISK_RUNNING);
  }
  return TRUE;
}

/* What both repositories have alike is done as soon as it is known. */
static gboolean
wait_for_one (Copy *self, GError **error)
{
  g_autoptr (GError) failure = NULL;
  int number = bk_copies_wait (self->copies, WAIT_MS, &failure);
  for (unsigned i = 0; i < self->disks->len; i++) {
    BkCopyCounters counters = bk_copies_counters (self->copies, i);
    bk_disk_progress_tell (disk_at (self, i), counters.transferred + counters.clean);
  }
  if (failure) {
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  if (number >= 0)
    bk_disk_progress_set (disk_at (self, (unsigned)number), BK_DISK_COMPLETED);
  return TRUE;
}

static gboolean
work_copy (BkJob *job, gpointer data, GCancellable *cancellable, GError **error)
{
  Copy *self = data;
  if (self->copy == NULL)
    return TRUE;
  if (!begin_copies (self, bk_job_info (job)->speed, error))
    return FALSE;
  while (bk_copies_is_busy (self->copies)) {
    bk_copies_obey (self->copies, job);
    if (!bk_cancel_check (cancellable, error) || !wait_for_one (self, error))
      return FALSE;
  }
  g_clear_pointer (&self->copies, bk_copies_free);
  return TRUE;
}

static void
progress (BkJob *job, gpointer data)
{
  const Copy *self = data;
  for (unsigned i = 0; i < self->disks->len; i++)
    bk_disk_progress_show (disk_at (self, i), bk_job_info (job), i);
}

static gboolean
record_copy (BkJob *job, gpointer data, GError **error G_GNUC_UNUSED)
{
  progress (job, data);
  return TRUE;
}

/* --- the end --- */

static gboolean
work_commit (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  Copy *self = data;
  return self->copy == NULL || bk_repository_copy_commit (self->copy, error);
}

static gboolean
record_commit (BkJob *job, gpointer data, GError **error)
{
  Copy *self = data;
  g_autoptr (BkBackupInfo) made = bk_store_read (self->to, self->backup->vm, self->id, error);
  if (made == NULL)
    return FALSE;
  g_free (made->repository);
  made->repository = g_strdup (self->repository);
  bk_job_info (job)->bytes_stored = made->bytes_stored;
  bk_event_ring_publish (bk_job_events (job), "backup", made->vm, bk_job_id (job), bk_struct_to_json (&bk_backup_info_struct, made));
  return bk_catalog_put_backup (bk_job_catalog (job), made, error);
}

static const BkStep steps[] = {
  { "prepare", "preparing", work_prepare, NULL, undo_copy },
  { "copy", "running", work_copy, record_copy, undo_copy },
  { "commit", "finalizing", work_commit, record_commit, NULL },
  { NULL },
};

const BkJobKind bk_copy_job_kind = {
  .name = "copy",
  .steps = steps,
  .restart = true,
  .verbs = 1 << BK_VERB_CANCEL | 1 << BK_VERB_PAUSE | 1 << BK_VERB_RESUME | 1 << BK_VERB_SPEED,
  .progress = progress,
  .free = copy_free,
};
