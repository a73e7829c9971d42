/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "verify-job.h"

#include "long-work.h"
#include "repository.h"

#include <inttypes.h>

typedef struct {
  BkStore *store;
  char *repository;
  char *vm, *backup; /* NULL = all */
  BkRate *rate;
  BkLongWork work;
  BkRepositoryVerify *result;
} Verify;

gpointer
bk_verify_job_data_new (BkStore *store, const char *repository, const BkBackupInfo *backup, uint64_t speed)
{
  Verify *self = g_new0 (Verify, 1);
  self->store = bk_store_ref (store);
  self->repository = g_strdup (repository);
  self->vm = backup ? g_strdup (backup->vm) : NULL;
  self->backup = backup ? g_strdup (backup->id) : NULL;
  self->rate = bk_rate_new (speed);
  return self;
}

static void
verify_free (gpointer data)
{
  Verify *self = data;
  bk_store_unref (self->store);
  g_free (self->repository);
  g_free (self->vm);
  g_free (self->backup);
  bk_rate_unref (self->rate);
  g_clear_pointer (&self->result, bk_repository_verify_free);
  g_free (self);
}

static void
progress (BkJob *job, gpointer data)
{
  Verify *self = data;
  bk_long_work_show (&self->work, bk_job_info (job));
}

static gboolean
work_verify (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable, GError **error)
{
  Verify *self = data;
  self->result = bk_repository_verify (bk_store_repository (self->store), self->vm, self->backup, 0, self->rate, bk_long_work_tell,
                                       &self->work, cancellable, error);
  return self->result != NULL;
}

static void
carry_out (BkJob *job G_GNUC_UNUSED, gpointer data, BkVerb verb, uint64_t value)
{
  Verify *self = data;
  if (verb == BK_VERB_SPEED)
    bk_rate_set (self->rate, value);
  else
    bk_rate_pause (self->rate, verb == BK_VERB_PAUSE);
}

static bool
is_damaged (const Verify *self, const BkBackupInfo *backup)
{
  for (unsigned i = 0; i < self->result->damage->len; i++) {
    const BkRepositoryDamage *damage = self->result->damage->pdata[i];
    if (g_strcmp0 (damage->backup, backup->id) == 0 && g_strcmp0 (damage->vm, backup->vm) == 0)
      return true;
  }
  return false;
}

static bool
is_meant (const Verify *self, const BkBackupInfo *backup)
{
  return self->backup == NULL || g_strcmp0 (self->backup, backup->id) == 0;
}

static gboolean
record_verify (BkJob *job, gpointer data, GError **error)
{
  Verify *self = data;
  BkCatalog *catalog = bk_job_catalog (job);
  g_autoptr (GPtrArray) backups = bk_catalog_list_backups (catalog, self->vm, self->repository, error);
  if (backups == NULL)
    return FALSE;
  for (unsigned i = 0; i < backups->len; i++) {
    BkBackupInfo *backup = backups->pdata[i];
    /* One that came while the others were read was not looked at. */
    if (!is_meant (self, backup) || backup->completed_at > bk_job_info (job)->started_at)
      continue;
    backup->damaged = is_damaged (self, backup);
    backup->verified_at = backup->damaged ? 0 : g_get_real_time ();
    if (!bk_catalog_put_backup (catalog, backup, error))
      return FALSE;
  }
  return TRUE;
}

/* What is damaged is written down by now. */
static gboolean
work_judge (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  Verify *self = data;
  if (self->result->damage->len == 0 && self->result->bad_chunks == 0)
    return TRUE;
  if (self->result->damage->len == 0) {
    g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT, "%" PRIu64 " chunks are damaged", self->result->bad_chunks);
    return FALSE;
  }
  const BkRepositoryDamage *first = self->result->damage->pdata[0];
  g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT,
               "%u places cannot be read; first: backup '%s', disk '%s', %" PRIu64 " bytes at offset %" PRIu64 ": %s",
               self->result->damage->len, first->backup, first->disk ? first->disk : "-", first->length, first->offset, first->reason);
  return FALSE;
}

static const BkStep steps[] = {
  { "verify", "running", work_verify, record_verify, NULL },
  { "judge", "finalizing", work_judge, NULL, NULL },
  { NULL },
};

const BkJobKind bk_verify_job_kind = {
  .name = "verify",
  .steps = steps,
  .restart = true,
  .verbs = 1 << BK_VERB_CANCEL | 1 << BK_VERB_PAUSE | 1 << BK_VERB_RESUME | 1 << BK_VERB_SPEED,
  .progress = progress,
  .verb = carry_out,
  .free = verify_free,
};
