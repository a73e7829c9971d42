/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Jobs of QEMU. All block: worker threads; errors as in qmp-client.h.
 */
#pragma once

#include "qmp-client.h"

typedef struct {
  char *id;
  char *status; /* created running paused ready standby waiting pending aborting concluded null */
  char *error;  /* NULL = none; only told when concluded */
  uint64_t current, total; /* progress in the job's own units */
  bool user_paused;        /* paused by us, not by a drain */
  char *io_status;         /* ok, failed, nospace; NULL unknown */
} BkQmpJob;
void bk_qmp_job_free (BkQmpJob *job);
/* Jobs whose ID starts with @prefix, from query-jobs and query-block-jobs. (transfer container+full) */
gboolean bk_qmp_query_jobs_of (BkQmpClient *client, const char *prefix, GPtrArray **jobs, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_qmp_job_cancel (BkQmpClient *client, const char *job, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_qmp_job_dismiss (BkQmpClient *client, const char *job, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_qmp_job_finalize (BkQmpClient *client, const char *job, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_qmp_job_pause (BkQmpClient *client, const char *job, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_qmp_job_resume (BkQmpClient *client, const char *job, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_qmp_job_set_speed (BkQmpClient *client, const char *job, uint64_t speed, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
