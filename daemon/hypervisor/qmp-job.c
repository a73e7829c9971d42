/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qmp-job.h"

#include "qmp-commands.h"
#include "qmp-json.h"

void
bk_qmp_job_free (BkQmpJob *job)
{
  if (job == NULL)
    return;
  g_free (job->id);
  g_free (job->status);
  g_free (job->error);
  g_free (job->io_status);
  g_free (job);
}

static BkQmpJob *
read_job (json_object *entry, json_object *block_jobs)
{
  BkQmpJob *job = g_new0 (BkQmpJob, 1);
  job->id = g_strdup (bk_qmp_get_string (entry, "id"));
  job->status = g_strdup (bk_qmp_get_string (entry, "status"));
  job->error = g_strdup (bk_qmp_get_string (entry, "error"));
  job->current = bk_qmp_get_uint (entry, "current-progress");
  job->total = bk_qmp_get_uint (entry, "total-progress");
  for (size_t i = 0; i < json_object_array_length (block_jobs); i++) {
    json_object *block_job = json_object_array_get_idx (block_jobs, i);
    if (g_strcmp0 (bk_qmp_get_string (block_job, "device"), job->id) != 0)
      continue;
    job->user_paused = bk_qmp_get_bool (block_job, "paused");
    job->io_status = g_strdup (bk_qmp_get_string (block_job, "io-status"));
  }
  return job;
}

static GPtrArray *
read_jobs (json_object *jobs, json_object *block_jobs, const char *prefix)
{
  GPtrArray *list = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_qmp_job_free);
  for (size_t i = 0; i < json_object_array_length (jobs); i++) {
    json_object *entry = json_object_array_get_idx (jobs, i);
    const char *id = bk_qmp_get_string (entry, "id");
    if (id && g_str_has_prefix (id, prefix) && bk_qmp_get_string (entry, "status"))
      g_ptr_array_add (list, read_job (entry, block_jobs));
  }
  return list;
}

/* The error of the first call that failed, or FAILED when an answer is no array; else TRUE. */
static gboolean
check_arrays (BkQmpCall *calls, unsigned n, GError **error)
{
  for (unsigned i = 0; i < n; i++) {
    if (calls[i].error) {
      g_propagate_error (error, g_steal_pointer (&calls[i].error));
      return FALSE;
    }
    if (!json_object_is_type (calls[i].result, json_type_array)) {
      g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "QEMU's answer to '%s' is no array", calls[i].name);
      return FALSE;
    }
  }
  return TRUE;
}

gboolean
bk_qmp_query_jobs_of (BkQmpClient *client, const char *prefix, GPtrArray **jobs, GCancellable *cancellable,
                      GError **error)
{
  *jobs = NULL;
  /* In one batch: a job cannot change much between the two answers, and it costs one round trip. */
  BkQmpCall calls[] = { { .name = BK_QMP_QUERY_JOBS, .fd = -1 }, { .name = BK_QMP_QUERY_BLOCK_JOBS, .fd = -1 } };
  gboolean ok = bk_qmp_client_call_all (client, calls, G_N_ELEMENTS (calls), 0, cancellable, error)
                && check_arrays (calls, G_N_ELEMENTS (calls), error);
  if (ok)
    *jobs = read_jobs (calls[0].result, calls[1].result, prefix);
  for (size_t i = 0; i < G_N_ELEMENTS (calls); i++)
    bk_qmp_call_clear (&calls[i]);
  return ok;
}

gboolean
bk_qmp_job_cancel (BkQmpClient *client, const char *job, GCancellable *cancellable, GError **error)
{
  return bk_qmp_run (client, "job-cancel", bk_qmp_object ("id", job), cancellable, error);
}

gboolean
bk_qmp_job_dismiss (BkQmpClient *client, const char *job, GCancellable *cancellable, GError **error)
{
  return bk_qmp_run (client, "job-dismiss", bk_qmp_object ("id", job), cancellable, error);
}

gboolean
bk_qmp_job_finalize (BkQmpClient *client, const char *job, GCancellable *cancellable, GError **error)
{
  return bk_qmp_run (client, "job-finalize", bk_qmp_object ("id", job), cancellable, error);
}

gboolean
bk_qmp_job_pause (BkQmpClient *client, const char *job, GCancellable *cancellable, GError **error)
{
  return bk_qmp_run (client, "job-pause", bk_qmp_object ("id", job), cancellable, error);
}

gboolean
bk_qmp_job_resume (BkQmpClient *client, const char *job, GCancellable *cancellable, GError **error)
{
  return bk_qmp_run (client, "job-resume", bk_qmp_object ("id", job), cancellable, error);
}

gboolean
bk_qmp_job_set_speed (BkQmpClient *client, const char *job, uint64_t speed, GCancellable *cancellable, GError **error)
{
  json_object *arguments = bk_qmp_object ("device", job);
  bk_qmp_set_uint (arguments, "speed", speed);
  return bk_qmp_run (client, "block-job-set-speed", arguments, cancellable, error);
}
