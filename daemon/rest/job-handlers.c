/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "handlers.h"
#include "request-check.h"

static const BkField bk_speed_request_fields[] = {
  { "speed", BK_FIELD_UINT64, offsetof (BkSpeedRequest, speed), BK_FIELD_REQUIRED, NULL, NULL },
  { NULL, BK_FIELD_STRING, 0, 0, NULL, NULL },
};
const BkStruct bk_speed_request_struct = { "speed request", sizeof (BkSpeedRequest), bk_speed_request_fields };

void
bk_jobs_list (BkExchange *exchange)
{
  g_autoptr (GError) error = NULL;
  uint64_t limit = 100, next = 0;
  BkJobFilter filter = { .vm = bk_exchange_query (exchange, "vm") };
  g_autoptr (GPtrArray) jobs = NULL;
  if (bk_exchange_query_word (exchange, "state", bk_job_states, &filter.state, &error) &&
      bk_exchange_query_word (exchange, "kind", bk_job_kinds, &filter.kind, &error) &&
      bk_exchange_query_number (exchange, "limit", 1, 1000, &limit, &error) &&
      bk_exchange_query_number (exchange, "cursor", 1, INT64_MAX, &filter.before, &error)) {
    filter.limit = (unsigned)limit;
    jobs = bk_queue_list_jobs (bk_exchange_services (exchange)->queue, &filter, &next, &error);
  }
  if (jobs == NULL) {
    bk_exchange_fail (exchange, error);
    return;
  }
  g_autofree char *cursor = next > 0 ? g_strdup_printf ("%" G_GUINT64_FORMAT, (guint64)next) : NULL;
  bk_exchange_reply_list (exchange, &bk_job_info_struct, jobs, cursor);
}

/* Answers with @job, or with @error when it is NULL. */
static void
reply_job (BkExchange *exchange, unsigned status, const BkJobInfo *job, const GError *error)
{
  if (job == NULL) {
    bk_exchange_fail (exchange, error);
    return;
  }
  g_autofree char *location = g_strdup_printf ("/v1/jobs/%s", job->id);
  if (status == SOUP_STATUS_ACCEPTED)
    bk_exchange_add_header (exchange, "Location", location);
  bk_exchange_reply_struct (exchange, status, &bk_job_info_struct, job);
}

static void
on_submitted (GObject *source G_GNUC_UNUSED, GAsyncResult *result, gpointer user_data)
{
  g_autoptr (BkExchange) exchange = user_data;
  g_autoptr (GError) error = NULL;
  g_autoptr (BkJobInfo) job = bk_queue_submit_backup_finish (bk_exchange_services (exchange)->queue, result, &error);
  reply_job (exchange, SOUP_STATUS_ACCEPTED, job, error);
}

static void
on_planned (GObject *source G_GNUC_UNUSED, GAsyncResult *result, gpointer user_data)
{
  g_autoptr (BkExchange) exchange = user_data;
  g_autoptr (GError) error = NULL;
  g_autoptr (BkPlanInfo) plan = bk_queue_plan_backup_finish (bk_exchange_services (exchange)->queue, result, &error);
  if (plan)
    bk_exchange_reply_struct (exchange, SOUP_STATUS_OK, &bk_plan_info_struct, plan);
  else
    bk_exchange_fail (exchange, error);
}

/* When not, the exchange has been answered. */
static bool
has_good_id (BkExchange *exchange, const char *id)
{
  g_autoptr (GError) error = NULL;
  if (bk_request_check_id (id, &error))
    return true;
  bk_exchange_fail (exchange, error);
  return false;
}

static void
submit_backup (BkExchange *exchange)
{
  BkQueue *queue = bk_exchange_services (exchange)->queue;
  g_autoptr (BkBackupRequest) request = bk_exchange_body_struct (exchange, &bk_backup_request_struct);
  if (request == NULL || !has_good_id (exchange, request->id))
    return;
  if (request->dry_run)
    bk_queue_plan_backup_async (queue, request, on_planned, bk_exchange_ref (exchange));
  else
    bk_queue_submit_backup_async (queue, request, on_submitted, bk_exchange_ref (exchange));
}

static void
submit_restore (BkExchange *exchange)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRestoreRequest) request = bk_exchange_body_struct (exchange, &bk_restore_request_struct);
  if (request == NULL || !has_good_id (exchange, request->id))
    return;
  g_autoptr (BkJobInfo) job = bk_queue_submit_restore (bk_exchange_services (exchange)->queue, request, &error);
  reply_job (exchange, SOUP_STATUS_ACCEPTED, job, error);
}

static void
submit_verify (BkExchange *exchange)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkVerifyRequest) request = bk_exchange_body_struct (exchange, &bk_verify_request_struct);
  if (request == NULL || !has_good_id (exchange, request->id))
    return;
  g_autoptr (BkJobInfo) job = bk_queue_submit_verify (bk_exchange_services (exchange)->queue, request, &error);
  reply_job (exchange, SOUP_STATUS_ACCEPTED, job, error);
}

static void
submit_gc (BkExchange *exchange)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkGcRequest) request = bk_exchange_body_struct (exchange, &bk_gc_request_struct);
  if (request == NULL || !has_good_id (exchange, request->id))
    return;
  g_autoptr (BkJobInfo) job = bk_queue_submit_gc (bk_exchange_services (exchange)->queue, request, &error);
  reply_job (exchange, SOUP_STATUS_ACCEPTED, job, error);
}

static void
submit_copy (BkExchange *exchange)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCopyRequest) request = bk_exchange_body_struct (exchange, &bk_copy_request_struct);
  if (request == NULL || !has_good_id (exchange, request->id))
    return;
  g_autoptr (BkJobInfo) job = bk_queue_submit_copy (bk_exchange_services (exchange)->queue, request, &error);
  reply_job (exchange, SOUP_STATUS_ACCEPTED, job, error);
}

/* Other kinds of jobs come from what they are about: a delete from DELETE /v1/backups/{id}, an export from
 * POST /v1/exports. */
static const struct {
  const char *kind;
  void (*submit) (BkExchange *exchange);
} kinds[] = {
  { "backup", submit_backup }, { "restore", submit_restore }, { "verify", submit_verify },
  { "gc", submit_gc },         { "copy", submit_copy },
};

static void
fail_kind (BkExchange *exchange)
{
  g_autoptr (GString) words = g_string_new (NULL);
  for (size_t i = 0; i < G_N_ELEMENTS (kinds); i++)
    g_string_append_printf (words, "%s%s", i ? ", " : "", kinds[i].kind);
  g_autoptr (GError) error = g_error_new (BK_ERROR, BK_ERROR_INVALID, "/kind: must be one of %s", words->str);
  bk_exchange_fail (exchange, error);
}

void
bk_jobs_submit (BkExchange *exchange)
{
  json_object *kind = NULL;
  if (json_object_is_type (bk_exchange_body (exchange), json_type_object))
    json_object_object_get_ex (bk_exchange_body (exchange), "kind", &kind);
  if (kind == NULL) {
    submit_backup (exchange);
    return;
  }
  const char *word = json_object_is_type (kind, json_type_string) ? json_object_get_string (kind) : "";
  for (size_t i = 0; i < G_N_ELEMENTS (kinds); i++)
    if (g_str_equal (word, kinds[i].kind)) {
      kinds[i].submit (exchange);
      return;
    }
  fail_kind (exchange);
}

typedef BkJobInfo *(*Verb) (BkQueue *queue, const char *id, GError **error);

static void
act_on_job (BkExchange *exchange, Verb verb)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkJobInfo) job = verb (bk_exchange_services (exchange)->queue, bk_exchange_word (exchange, 0), &error);
  reply_job (exchange, SOUP_STATUS_OK, job, error);
}

void
bk_job_show (BkExchange *exchange)
{
  act_on_job (exchange, bk_queue_get_job);
}

void
bk_job_cancel (BkExchange *exchange)
{
  act_on_job (exchange, bk_queue_cancel);
}

void
bk_job_pause (BkExchange *exchange)
{
  act_on_job (exchange, bk_queue_pause);
}

void
bk_job_resume (BkExchange *exchange)
{
  act_on_job (exchange, bk_queue_resume);
}

void
bk_job_speed (BkExchange *exchange)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkSpeedRequest) request = bk_exchange_body_struct (exchange, &bk_speed_request_struct);
  if (request == NULL)
    return;
  g_autoptr (BkJobInfo) job = bk_queue_set_speed (bk_exchange_services (exchange)->queue, bk_exchange_word (exchange, 0),
                                                  request->speed, &error);
  reply_job (exchange, SOUP_STATUS_OK, job, error);
}
