/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "follow.h"

#include "connection.h"
#include "interrupt.h"
#include "output.h"
#include "progress.h"

#include <string.h>

/* Without an event for so long the job is read anew: about five of the daemon's usual intervals. */
#define QUIET_SECONDS 5
#define MAX_PAUSE (2 * G_USEC_PER_SEC) /* between two attempts to reach the daemon */
#define FIRST_PAUSE (G_USEC_PER_SEC / 10)

typedef struct {
  BkConnection *connection;
  BkProgress *progress;
  BkJobInfo *job;
  json_object *json;    /* of .job */
  char *path;           /* of the job */
  char *after;          /* number of the last event seen */
  int64_t heard_at;     /* when the daemon answered last */
  gulong pause;
} Follow;

/* --- the job --- */

static void
follow_clear (Follow *follow)
{
  bk_progress_free (follow->progress);
  bk_job_info_free (follow->job);
  json_object_put (follow->json);
  g_free (follow->path);
  g_free (follow->after);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Follow, follow_clear)

static bool
has_ended (const BkJobInfo *job)
{
  static const char *const ends[] = { "completed", "partial", "failed", "cancelled", NULL };
  return g_strv_contains (ends, job->state);
}

/* Takes @job and @json: (transfer full). */
static void
take_job (Follow *follow, BkJobInfo *job, json_object *json)
{
  bk_job_info_free (follow->job);
  json_object_put (follow->json);
  follow->job = job;
  follow->json = json;
  bk_progress_show (follow->progress, job);
}

static gboolean
refresh (Follow *follow, GError **error)
{
  json_object *json = NULL;
  BkJobInfo *job = bk_connection_read (follow->connection, "GET", follow->path, NULL, &bk_job_info_struct, &json, error);
  if (job == NULL)
    return FALSE;
  follow->heard_at = g_get_monotonic_time ();
  follow->pause = FIRST_PAUSE;
  take_job (follow, job, json);
  return TRUE;
}

/* The job that @event holds, as {"body": JOB} or bare; NULL when it holds none. *@json: (transfer full) */
static BkJobInfo *
read_event (const BkSseEvent *event, json_object **json)
{
  json_object *body = NULL;
  g_autoptr (json_object) data = bk_json_parse (event->data, strlen (event->data), NULL);
  if (!json_object_object_get_ex (data, "body", &body))
    body = data;
  BkJobInfo *job = bk_struct_from_json_lax (&bk_job_info_struct, body, NULL);
  if (job)
    *json = json_object_get (body);
  return job;
}

/* Events of other kinds do not count; one that tells of a loss, or can not be read, makes the job be read anew. */
static void
take_event (Follow *follow, const BkSseEvent *event)
{
  if (*event->id) {
    g_free (follow->after);
    follow->after = g_strdup (event->id);
  }
  bool lost = strcmp (event->type, "lost") == 0;
  if (!lost && strcmp (event->type, "job") != 0)
    return;
  g_autoptr (json_object) json = NULL;
  g_autoptr (BkJobInfo) job = lost ? NULL : read_event (event, &json);
  if (job == NULL)
    (void)refresh (follow, NULL); /* if that fails the stream will too */
  else if (strcmp (job->id, follow->job->id) == 0)
    take_job (follow, g_steal_pointer (&job), g_steal_pointer (&json));
}

/* Takes events until the job ends, or the stream does, or it is silent. */
static void
take_events (Follow *follow)
{
  char bytes[16384];
  gssize n = 0;
  g_autoptr (BkSse) sse = bk_sse_new ();
  g_autoptr (GInputStream) stream =
      bk_connection_events (follow->connection, follow->job->id, follow->after, QUIET_SECONDS, NULL);
  /* What happened between reading the job and opening the stream. */
  if (stream == NULL || !refresh (follow, NULL))
    return;
  while (!has_ended (follow->job) && (n = g_input_stream_read (stream, bytes, sizeof bytes, NULL, NULL)) > 0) {
    BkSseEvent event;
    follow->heard_at = g_get_monotonic_time ();
    if (!bk_sse_push (sse, bytes, (size_t)n, NULL))
      return;
    while (!has_ended (follow->job) && bk_sse_next (sse, &event))
      take_event (follow, &event);
  }
}

/* Waits a moment after @error; FALSE when it is not one that passes, or the daemon is away for too long. */
static gboolean
have_patience (Follow *follow, const GError *error)
{
  int64_t patience = 2 * (int64_t)bk_connection_timeout (follow->connection) * G_USEC_PER_SEC;
  if (!g_error_matches (error, BK_ERROR, BK_ERROR_UNREACHABLE) || g_get_monotonic_time () - follow->heard_at > patience)
    return FALSE;
  bk_progress_note (follow->progress, follow->job, "backupd is away; waiting for it");
  g_usleep (follow->pause);
  follow->pause = MIN (follow->pause * 2, MAX_PAUSE);
  return TRUE;
}

static gboolean
follow_to_end (Follow *follow, GError **error)
{
  while (!has_ended (follow->job)) {
    g_autoptr (GError) cause = NULL;
    int64_t started = g_get_monotonic_time ();
    take_events (follow);
    if (has_ended (follow->job))
      break;
    if (!refresh (follow, &cause) && !have_patience (follow, cause)) {
      g_propagate_error (error, g_steal_pointer (&cause));
      return FALSE;
    }
    /* A daemon that answers but whose event streams end at once is asked now and then instead. */
    if (cause == NULL && !has_ended (follow->job) && g_get_monotonic_time () - started < G_USEC_PER_SEC)
      g_usleep (G_USEC_PER_SEC / 2);
  }
  return TRUE;
}

/* --- the result --- */

static void
say_disk_errors (const BkJobInfo *job)
{
  for (unsigned i = 0; job->disks && i < job->disks->len; i++) {
    const BkJobDisk *disk = job->disks->pdata[i];
    if (disk->error)
      bk_output_message ("disk '%s': %s", disk->name, disk->error->message);
  }
}

static gboolean
result_of (const BkJobInfo *job, GError **error)
{
  say_disk_errors (job);
  if (strcmp (job->state, "completed") == 0)
    return TRUE;
  const BkErrorEntry *entry = bk_error_entry_by_name (job->error ? job->error->code : NULL);
  if (strcmp (job->state, "partial") == 0)
    entry = bk_error_entry (BK_ERROR_PARTIAL);
  else if (strcmp (job->state, "cancelled") == 0)
    entry = bk_error_entry (BK_ERROR_CANCELLED);
  g_set_error (error, BK_ERROR, (int)entry->code, "job %s: %s: %s", job->id, job->state,
               job->error ? job->error->message : entry->meaning);
  return FALSE;
}

gboolean
bk_follow (BkConnection *connection, BkOutput *output, const BkJobInfo *job, json_object **last, GError **error)
{
  g_auto (Follow) follow = {
    .connection = connection,
    .progress = bk_progress_new (bk_output_is_quiet (output)),
    .job = bk_struct_copy (&bk_job_info_struct, job),
    .after = g_strdup (""),
    .heard_at = g_get_monotonic_time (),
    .pause = FIRST_PAUSE,
  };
  g_autofree char *escaped = g_uri_escape_string (job->id, NULL, FALSE);
  follow.path = g_strconcat ("/v1/jobs/", escaped, NULL);
  bk_interrupt_say ("job %.64s goes on; see 'backupctl watch %.64s'", job->id, job->id);
  *last = NULL;
  bk_progress_show (follow.progress, follow.job);
  /* Also of a job that has ended before it was followed the document is the daemon's. */
  if (has_ended (job) && !refresh (&follow, error))
    return FALSE;
  if (!follow_to_end (&follow, error))
    return FALSE;
  *last = g_steal_pointer (&follow.json);
  return result_of (follow.job, error);
}

gboolean
bk_follow_to_end (BkConnection *connection, BkOutput *output, const BkJobInfo *job, GError **error)
{
  g_autoptr (json_object) last = NULL;
  gboolean ok = bk_follow (connection, output, job, &last, error);
  if (last && bk_output_is_json (output))
    bk_output_json (output, last);
  return ok;
}

BkJobInfo *
bk_follow_read (json_object *json, GError **error)
{
  g_autoptr (GError) cause = NULL;
  BkJobInfo *job = bk_struct_from_json_lax (&bk_job_info_struct, json, &cause);
  if (job == NULL)
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED,
                 "the job was accepted, but the answer of backupd is not understood: %s", cause->message);
  return job;
}

gboolean
bk_follow_started (const BkArgs *args, BkConnection *connection, BkOutput *output, json_object *json, GError **error)
{
  bool wait = bk_args_has (args, "wait");
  if (bk_output_is_json (output) && !wait) {
    bk_output_json (output, json);
    return TRUE;
  }
  g_autoptr (BkJobInfo) job = bk_follow_read (json, error);
  if (job == NULL)
    return FALSE;
  if (!bk_output_is_json (output))
    bk_output_line (output, "%s", job->id);
  if (!wait)
    return TRUE;
  /* Who reads the ID from a pipe wants it now. */
  if (!bk_output_flush (output, error))
    return FALSE;
  return bk_follow_to_end (connection, output, job, error);
}
