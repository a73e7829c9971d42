/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "copy-job.h"

#include "long-work.h"
#include "repository.h"

typedef struct {
  BkStore *from, *to;
  char *vm, *backup;
  GStrv candidates;
  BkLongWork work;
} Copy;

gpointer
bk_copy_job_data_new (BkStore *from, BkStore *to, const BkBackupInfo *backup, const char *const *candidates)
{
  Copy *self = g_new0 (Copy, 1);
  self->from = bk_store_ref (from);
  self->to = bk_store_ref (to);
  self->vm = g_strdup (backup->vm);
  self->backup = g_strdup (backup->id);
  self->candidates = g_strdupv ((GStrv)candidates);
  return self;
}

static void
copy_free (gpointer data)
{
  Copy *self = data;
  bk_store_unref (self->from);
  bk_store_unref (self->to);
  g_free (self->vm);
  g_free (self->backup);
  g_strfreev (self->candidates);
  g_free (self);
}

static json_object *
to_json (gpointer data G_GNUC_UNUSED)
{
  return NULL; /* the request says it all */
}

static void
progress (BkJob *job, gpointer data)
{
  Copy *self = data;
  bk_long_work_show (&self->work, bk_job_info (job));
}

static const char *
find_base (const Copy *self)
{
  for (size_t i = 0; self->candidates[i]; i++)
    if (bk_store_has (self->from, self->vm, self->candidates[i]) && bk_store_has (self->to, self->vm, self->candidates[i]))
      return self->candidates[i];
  return NULL;
}

static gboolean
work_copy (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable, GError **error)
{
  Copy *self = data;
  if (bk_store_has (self->to, self->vm, self->backup))
    return TRUE; /* before a restart */
  return bk_repository_copy (bk_store_repository (self->from), bk_store_repository (self->to), self->vm, self->backup,
                             find_base (self), 0, bk_long_work_tell, &self->work, cancellable, error);
}

static const BkStep steps[] = {
  { "copy", "running", work_copy, NULL, NULL },
  { "finish", "finalizing", NULL, NULL, NULL },
  { NULL },
};

const BkJobKind bk_copy_job_kind = {
  .name = "copy",
  .steps = steps,
  .restart = true,
  .verbs = 1 << BK_VERB_CANCEL,
  .to_json = to_json,
  .progress = progress,
  .free = copy_free,
};
