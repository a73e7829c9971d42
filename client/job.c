/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "command.h"
#include "follow.h"
#include "progress.h"

#include <string.h>

#define LIST_LIMIT 50

static char *
done_cell (gconstpointer item)
{
  const BkJobInfo *job = item;
  if (job->bytes_total == 0)
    return NULL;
  return g_strdup_printf ("%d%%", (int)(100.0 * MIN (1.0, (double)job->bytes_transferred / (double)job->bytes_total)));
}

static char *
progress_cell (gconstpointer item)
{
  const BkJobInfo *job = item;
  g_autofree char *percent = done_cell (job);
  g_autofree char *done = bk_size_format (job->bytes_transferred);
  g_autofree char *total = bk_size_format (job->bytes_total);
  return percent ? g_strdup_printf ("%s, %s of %s", percent, done, total) : NULL;
}

/* Why an increment is large: what was written, what that changed, and what nobody had stored before. */
static char *
changes_cell (gconstpointer item)
{
  const BkJobInfo *job = item;
  if (!bk_progress_knows_changes (job))
    return NULL;
  g_autofree char *dirty = bk_size_format (job->bytes_total);
  g_autofree char *different = bk_size_format (job->bytes_different);
  g_autofree char *fresh = bk_size_format (job->bytes_new);
  return g_strdup_printf ("%s dirty, %s of it different, %s new to the repository", dirty, different, fresh);
}

static char *
rate_cell (gconstpointer item)
{
  const BkJobInfo *job = item;
  g_autofree char *rate = bk_size_format (job->rate);
  return job->rate ? g_strdup_printf ("%s/s", rate) : NULL;
}

/* What the guest has noticed of it, and whether what is stored was at rest. */
static char *
quiesce_cell (gconstpointer item)
{
  const BkJobInfo *job = item;
  return bk_output_quiesce (job->quiesce);
}

static char *
error_cell (gconstpointer item)
{
  const BkJobInfo *job = item;
  return job->error ? g_strdup_printf ("%s (%s)", job->error->message, job->error->code) : NULL;
}

static char *
disk_error_cell (gconstpointer item)
{
  const BkJobDisk *disk = item;
  return g_strdup (disk->error ? disk->error->message : disk->reason);
}

static const BkColumn list_columns[] = {
  { "ID", BK_CELL_TEXT, "id" },       { "KIND", BK_CELL_TEXT, "kind" },
  { "VM", BK_CELL_TEXT, "vm" },       { "STATE", BK_CELL_STATE, "state" },
  { "STEP", BK_CELL_TEXT, "step" },   { "DONE", BK_CELL_TEXT, NULL, done_cell },
  { "SIZE", BK_CELL_SIZE, "bytes_total" }, { "CREATED", BK_CELL_TEXT, "created_at" },
  { NULL },
};

static const BkColumn details[] = {
  { "Job", BK_CELL_TEXT, "id" },
  { "Kind", BK_CELL_TEXT, "kind" },
  { "VM", BK_CELL_TEXT, "vm" },
  { "State", BK_CELL_STATE, "state" },
  { "Step", BK_CELL_TEXT, "step" },
  { "Error", BK_CELL_TEXT, NULL, error_cell },
  { "Mode", BK_CELL_TEXT, "mode" },
  { "Reason", BK_CELL_TEXT, "reason" },
  { "Repository", BK_CELL_TEXT, "repository" },
  { "Progress", BK_CELL_TEXT, NULL, progress_cell },
  { "Rate", BK_CELL_TEXT, NULL, rate_cell },
  { "Time left", BK_CELL_TEXT, "eta_seconds" },
  { "Speed limit", BK_CELL_RATE, "speed" },
  { "Changes", BK_CELL_TEXT, NULL, changes_cell },
  { "Stored", BK_CELL_SIZE, "bytes_stored" },
  { "Created", BK_CELL_TEXT, "created_at" },
  { "Started", BK_CELL_TEXT, "started_at" },
  { "Point in time", BK_CELL_TEXT, "point_in_time" },
  { "Quiesced", BK_CELL_TEXT, NULL, quiesce_cell },
  { "Ended", BK_CELL_TEXT, "ended_at" },
  { "Backup", BK_CELL_TEXT, "backup_id" },
  { "Checkpoint", BK_CELL_TEXT, "checkpoint_id" },
  { "Allowed now", BK_CELL_TEXT, "actions" },
  { NULL },
};

static const BkColumn disk_columns[] = {
  { "DISK", BK_CELL_TEXT, "name" },
  { "LEVEL", BK_CELL_TEXT, "level" },
  { "STATE", BK_CELL_STATE, "state" },
  { "TO COPY", BK_CELL_SIZE, "bytes_total" },
  { "COPIED", BK_CELL_SIZE, "bytes_transferred" },
  { "STORED", BK_CELL_SIZE, "bytes_stored" },
  { "TARGET", BK_CELL_TEXT, "target" },
  { "ERROR OR REASON", BK_CELL_TEXT, NULL, disk_error_cell },
  { NULL },
};

static const BkColumn pull_columns[] = {
  { "DISK", BK_CELL_TEXT, "name" },
  { "LEVEL", BK_CELL_TEXT, "level" },
  { "STATE", BK_CELL_STATE, "state" },
  { "DIRTY", BK_CELL_SIZE, "bytes_total" },
  { "READ", BK_CELL_SIZE, "bytes_transferred" },
  { "DIFFERENT", BK_CELL_SIZE, "bytes_different" },
  { "NEW", BK_CELL_SIZE, "bytes_new" },
  { "STORED", BK_CELL_SIZE, "bytes_stored" },
  { "ERROR OR REASON", BK_CELL_TEXT, NULL, disk_error_cell },
  { NULL },
};

static const BkColumn step_columns[] = {
  { "STEP", BK_CELL_TEXT, "name" },
  { "STATE", BK_CELL_STATE, "state" },
  { "STARTED", BK_CELL_TEXT, "started_at" },
  { "ENDED", BK_CELL_TEXT, "ended_at" },
  { NULL },
};

static char *
hook_cell (gconstpointer item)
{
  const BkHookRun *hook = item;
  const char *newline = hook->output ? strrchr (hook->output, '\n') : NULL;
  const char *words = newline ? newline + 1 : hook->output ? hook->output : "";
  if (hook->reason == NULL)
    return g_strdup (words);
  return *words ? g_strdup_printf ("%s: %s", hook->reason, words) : g_strdup (hook->reason);
}

static const BkColumn hook_columns[] = {
  { "HOOK", BK_CELL_TEXT, "event" },
  { "STATE", BK_CELL_STATE, "state" },
  { "STARTED", BK_CELL_TEXT, "started_at" },
  { "ENDED", BK_CELL_TEXT, "ended_at" },
  { "LAST WORDS", BK_CELL_TEXT, NULL, hook_cell },
  { NULL },
};

static gboolean
list (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autofree char *path = bk_args_query (args, "/v1/jobs");
  uint64_t limit = bk_args_number (args, "limit", LIST_LIMIT);
  g_autoptr (json_object) json = bk_connection_list (connection, path, limit, error);
  return json && bk_output_list (output, &bk_job_info_struct, json, list_columns, error);
}

static BkJobInfo *
get_job (const BkArgs *args, BkConnection *connection, json_object **json, GError **error)
{
  g_autofree char *path = bk_args_path (args, "/v1/jobs", "JOB", NULL);
  return bk_connection_read (connection, "GET", path, NULL, &bk_job_info_struct, json, error);
}

static gboolean
status (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autoptr (json_object) json = NULL;
  g_autoptr (BkJobInfo) job = get_job (args, connection, &json, error);
  if (job == NULL)
    return FALSE;
  if (bk_output_is_json (output)) {
    bk_output_json (output, json);
    return TRUE;
  }
  bk_output_details (output, &bk_job_info_struct, job, details);
  bk_output_section (output, "Disks", &bk_job_disk_struct, job->disks,
                     bk_progress_knows_changes (job) ? pull_columns : disk_columns);
  bk_output_section (output, "Steps", &bk_job_step_struct, job->steps, step_columns);
  bk_output_section (output, "Hooks", &bk_hook_run_struct, job->hooks, hook_columns);
  return TRUE;
}

static gboolean
watch (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autoptr (BkJobInfo) job = get_job (args, connection, NULL, error);
  return job && bk_follow_to_end (connection, output, job, error);
}

static gboolean
do_verb (const BkArgs *args, BkConnection *connection, BkOutput *output, const char *method, const char *verb,
         json_object *body, GError **error)
{
  g_autoptr (json_object) json = NULL;
  g_autofree char *path = bk_args_path (args, "/v1/jobs", "JOB", verb);
  g_autoptr (BkJobInfo) job = bk_connection_read (connection, method, path, body, &bk_job_info_struct, &json, error);
  if (job == NULL)
    return FALSE;
  g_autofree char *limit = bk_size_format (job->speed);
  if (bk_output_is_json (output))
    bk_output_json (output, json);
  else if (bk_output_is_quiet (output))
    return TRUE;
  else if (strcmp (verb, "cancel") == 0 && strcmp (job->state, "cancelled") != 0)
    bk_output_line (output, "job %s will be cancelled; it is %s", job->id, job->state);
  else if (strcmp (verb, "speed") == 0)
    bk_output_line (output, "job %s: speed limit %s%s", job->id, job->speed ? limit : "none", job->speed ? "/s" : "");
  else
    bk_output_line (output, "job %s is %s", job->id, job->state);
  return TRUE;
}

static gboolean
cancel (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  return do_verb (args, connection, output, "POST", "cancel", NULL, error);
}

static gboolean
pause_job (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  return do_verb (args, connection, output, "POST", "pause", NULL, error);
}

static gboolean
resume (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  return do_verb (args, connection, output, "POST", "resume", NULL, error);
}

static gboolean
speed (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autoptr (json_object) body = bk_args_body (args);
  return do_verb (args, connection, output, "PUT", "speed", body, error);
}

static const BkOption list_options[] = {
  { "vm", BK_OPTION_TEXT, "NAME", NULL, "vm", false, "only jobs of this VM" },
  { "state", BK_OPTION_WORD, NULL, bk_job_states, "state", false, "only jobs in this state" },
  { "kind", BK_OPTION_WORD, NULL, bk_job_kinds, "kind", false, "only jobs of this kind" },
  { "limit", BK_OPTION_COUNT, "N", NULL, NULL, false, "at most so many; otherwise 50" },
  { NULL },
};

static const BkOperand job_operand[] = { { "JOB", BK_OPTION_TEXT, NULL }, { NULL } };

static const BkOperand speed_operands[] = { { "JOB", BK_OPTION_TEXT, NULL }, { "BYTES/S", BK_OPTION_SIZE, "speed" }, { NULL } };

const BkCommand bk_job_commands[] = {
  { "list", "list jobs, newest first", list_options, NULL, list },
  { "status", "show a job, its disks, its steps, its error", NULL, job_operand, status },
  { "watch", "follow a job and end with its result", NULL, job_operand, watch },
  { "cancel", "cancel a job", NULL, job_operand, cancel },
  { "pause", "pause a job", NULL, job_operand, pause_job },
  { "resume", "let a paused job go on", NULL, job_operand, resume },
  { "speed", "change a job's speed limit: 10M, 1.5G; 0 is none", NULL, speed_operands, speed },
  { NULL },
};
