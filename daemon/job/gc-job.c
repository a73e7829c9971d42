/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gc-job.h"

#include "long-work.h"
#include "repository.h"

typedef struct {
  BkStore *store;
  uint64_t grace_seconds;
  bool dry_run;
  BkLongWork work;
  bool swept; /* main thread: from then on the bytes of the job are those of the result */
  BkRepositoryGc result;
} Gc;

gpointer
bk_gc_job_data_new (BkStore *store, uint64_t grace_seconds, bool dry_run)
{
  Gc *self = g_new0 (Gc, 1);
  self->store = bk_store_ref (store);
  self->grace_seconds = grace_seconds;
  self->dry_run = dry_run;
  return self;
}

static void
gc_free (gpointer data)
{
  Gc *self = data;
  bk_store_unref (self->store);
  g_free (self);
}

static void
progress (BkJob *job, gpointer data)
{
  Gc *self = data;
  if (!self->swept)
    bk_long_work_show (&self->work, bk_job_info (job));
}

static gboolean
work_sweep (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable, GError **error)
{
  Gc *self = data;
  return bk_repository_gc (bk_store_repository (self->store), self->grace_seconds, self->dry_run, bk_long_work_tell, &self->work,
                           cancellable, &self->result, error);
}

static gboolean
record_sweep (BkJob *job, gpointer data, GError **error G_GNUC_UNUSED)
{
  Gc *self = data;
  BkJobInfo *info = bk_job_info (job);
  self->swept = true;
  info->bytes_total = self->result.bytes_freed;
  info->bytes_transferred = self->dry_run ? 0 : self->result.bytes_freed;
  g_free (info->reason);
  info->reason = g_strdup_printf ("%" G_GUINT64_FORMAT " packs removed, %" G_GUINT64_FORMAT " rewritten, %" G_GUINT64_FORMAT
                                  " in use until the next time, %" G_GUINT64_FORMAT " backups left the trash%s",
                                  self->result.packs_removed, self->result.packs_rewritten, self->result.packs_in_use,
                                  self->result.trash_purged, self->result.trash_held ? "; another process reads: the trash was kept" : "");
  return TRUE;
}

static const BkStep steps[] = {
  { "sweep", "running", work_sweep, record_sweep, NULL },
  { "finish", "finalizing", NULL, NULL, NULL },
  { NULL },
};

const BkJobKind bk_gc_job_kind = {
  .name = "gc",
  .steps = steps,
  .restart = true,
  .verbs = 1 << BK_VERB_CANCEL,
  .progress = progress,
  .free = gc_free,
};
