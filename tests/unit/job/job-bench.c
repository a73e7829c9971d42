/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job-bench.h"

#include "worker.h"

#include <sqlite3.h>

#define LIMIT_MS 20000

static void
on_event (const BkEvent *event, gpointer data)
{
  Bench *bench = data;
  ck_assert_str_eq (event->type, "job");
  ck_assert_str_eq (event->vm, "web01");
  ck_assert_str_eq (event->job, "j1");
  g_autoptr (GError) error = NULL;
  g_autoptr (BkJobInfo) info = bk_struct_from_json_lax (&bk_job_info_struct, event->body, &error);
  bk_assert_no_error (error);
  g_auto (GStrv) allowed = bk_job_actions (info->state, bench->kind.verbs);
  ck_assert (info->actions == NULL || g_strv_length (info->actions) == 0
             || g_strv_equal ((const char *const *)info->actions, (const char *const *)allowed));
  const char *last = strrchr (bench->states->str, ' ');
  if (strcmp (last ? last + 1 : bench->states->str, info->state) != 0)
    g_string_append_printf (bench->states, "%s%s", bench->states->len ? " " : "", info->state);
}

static void
on_ended (BkJob *job, gpointer data)
{
  Bench *bench = data;
  ck_assert_ptr_eq (job, bench->job);
  ck_assert (bk_job_is_over (job) && !bk_job_is_working (job));
  bench->ended++;
}

static void
open_catalog (Bench *bench)
{
  g_autoptr (GError) error = NULL;
  bench->catalog = bk_catalog_open (bench->folder, &error);
  bk_assert_no_error (error);
}

/* @record: (transfer full) */
static void
make_job (Bench *bench, BkJobRecord *record)
{
  bench->job = bk_job_new (bench->catalog, bench->events, record, &bench->kind, &bench->fake, on_ended, bench);
}

Bench *
bench_new (void)
{
  g_autoptr (GError) error = NULL;
  Bench *bench = g_new0 (Bench, 1);
  bench->folder = bk_suite_folder ();
  bench->states = g_string_new (NULL);
  bench->kind = fake_job_kind;
  bench->events = bk_event_ring_new (100);
  bk_event_ring_subscribe (bench->events, on_event, bench);
  fake_job_init (&bench->fake);
  open_catalog (bench);
  BkJobRecord *record = g_new0 (BkJobRecord, 1);
  record->info = g_new0 (BkJobInfo, 1);
  record->info->id = g_strdup ("j1");
  record->info->kind = g_strdup ("fake");
  record->info->vm = g_strdup ("web01");
  record->info->state = g_strdup ("queued");
  record->info->created_at = g_get_real_time ();
  record->info->eta_seconds = -1;
  ck_assert (bk_catalog_insert_job (bench->catalog, record, &error));
  make_job (bench, record);
  return bench;
}

void
bench_free (Bench *bench)
{
  unsigned freed = bench->fake.freed;
  bk_job_unref (bench->job);
  ck_assert_uint_eq (bench->fake.freed, freed + 1);
  bk_catalog_close (bench->catalog);
  bk_event_ring_free (bench->events);
  fake_job_clear (&bench->fake);
  g_string_free (bench->states, TRUE);
  g_free (bench->folder);
  g_free (bench);
}

/* --- to look at --- */

char *
steps_text (const BkJobInfo *info)
{
  GString *text = g_string_new (NULL);
  for (unsigned i = 0; info->steps && i < info->steps->len; i++) {
    const BkJobStep *step = info->steps->pdata[i];
    g_string_append_printf (text, "%s%s:%s", i ? " " : "", step->name, step->state);
    ck_assert ((step->started_at == 0) == (strcmp (step->state, "waiting") == 0) || strcmp (step->state, "undone") == 0);
    ck_assert (step->ended_at == 0 || step->started_at <= step->ended_at);
  }
  return g_string_free (text, FALSE);
}

char *
steps_until (const char *at, const char *state)
{
  GString *text = g_string_new (NULL);
  const char *now = "done";
  for (const BkStep *step = fake_job_steps; step->name; step++) {
    bool here = g_strcmp0 (step->name, at) == 0;
    g_string_append_printf (text, "%s%s:%s", text->len ? " " : "", step->name, here ? state : now);
    now = here ? "waiting" : now;
  }
  return g_string_free (text, FALSE);
}

GString *
forward (const char *until, bool record)
{
  GString *text = g_string_new (NULL);
  for (const BkStep *step = fake_job_steps; step->name; step++) {
    bool here = g_strcmp0 (step->name, until) == 0;
    if (step->work)
      g_string_append_printf (text, "%s+%s", text->len ? " " : "", step->name);
    if (step->record && (!here || record))
      g_string_append_printf (text, " =%s", step->name);
    if (here)
      break;
  }
  return text;
}

void
append_undo (GString *text, const char *from)
{
  unsigned i = 0;
  while (strcmp (fake_job_steps[i].name, from) != 0)
    i++;
  for (i++; i-- > 0;)
    if (fake_job_steps[i].undo)
      g_string_append_printf (text, "%s-%s", text->len ? " " : "", fake_job_steps[i].name);
  g_string_append (text, " undone");
}

BkJobRecord *
read_row (Bench *bench)
{
  g_autoptr (GError) error = NULL;
  BkJobRecord *record = bk_catalog_get_job (bench->catalog, "j1", &error);
  bk_assert_no_error (error);
  return record;
}

void
assert_over (Bench *bench, const char *state, const char *code, bool settled)
{
  const BkJobInfo *info = bk_job_info (bench->job);
  g_autoptr (BkJobRecord) row = read_row (bench);
  ck_assert_str_eq (info->state, state);
  ck_assert_str_eq (row->info->state, state);
  ck_assert_int_eq (bk_job_is_settled (bench->job), settled);
  ck_assert_int_eq (row->settled, settled);
  ck_assert_int_ne (row->info->ended_at, 0);
  ck_assert_pstr_eq (info->error ? info->error->code : NULL, code);
  ck_assert_pstr_eq (row->info->error ? row->info->error->code : NULL, code);
  g_autoptr (BkJobInfo) snapshot = bk_job_snapshot (bench->job);
  ck_assert (snapshot->actions == NULL || snapshot->actions[0] == NULL);
}

/* --- to drive --- */

static gboolean
do_nothing (gpointer data G_GNUC_UNUSED)
{
  return G_SOURCE_CONTINUE;
}

void
until (bool (*condition) (gpointer data), gpointer data)
{
  unsigned timer = g_timeout_add (2, do_nothing, NULL);
  ck_assert (bk_main_until (condition, data, LIMIT_MS));
  g_source_remove (timer);
}

static bool
has_ended (gpointer data)
{
  const Bench *bench = data;
  return bench->ended >= bench->awaited;
}

void
wait_end (Bench *bench, unsigned times)
{
  bench->awaited = times;
  until (has_ended, bench);
  ck_assert_uint_eq (bench->ended, times);
}

void
run (Bench *bench)
{
  bk_job_start (bench->job);
  wait_end (bench, 1);
}

void
start_and_hold (Bench *bench, const char *step)
{
  bench->fake.hold = step;
  bk_job_start (bench->job);
  until (fake_job_is_held, &bench->fake);
}

void
verb (Bench *bench, BkVerb verb, uint64_t value)
{
  g_autoptr (GError) error = NULL;
  ck_assert (bk_job_verb (bench->job, verb, value, &error));
  bk_assert_no_error (error);
}

void
refused (Bench *bench, BkVerb verb)
{
  g_autoptr (GError) error = NULL;
  ck_assert (!bk_job_verb (bench->job, verb, 0, &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
}

bool
is_idle (gpointer data)
{
  return !bk_job_is_working (((Bench *)data)->job);
}

bool
is_paused (gpointer data)
{
  return strcmp (bk_job_info (((Bench *)data)->job)->state, "paused") == 0;
}

bool
is_running (gpointer data)
{
  return strcmp (bk_job_info (((Bench *)data)->job)->state, "running") == 0;
}

typedef struct {
  FakeJob *fake;
  const char *text;
} Wanted;

static bool
log_has (gpointer data)
{
  const Wanted *wanted = data;
  g_autofree char *log = fake_job_log (wanted->fake);
  return strstr (log, wanted->text) != NULL;
}

void
wait_log (Bench *bench, const char *text)
{
  Wanted wanted = { &bench->fake, text };
  until (log_has, &wanted);
}

void
restart (Bench *bench)
{
  g_autoptr (GError) error = NULL;
  bk_job_detach (bench->job);
  fake_job_release (&bench->fake);
  until (is_idle, bench);
  bk_job_unref (bench->job);
  bk_catalog_close (bench->catalog);
  fake_job_clear (&bench->fake);
  fake_job_init (&bench->fake);
  g_string_truncate (bench->states, 0);
  bench->ended = 0;
  open_catalog (bench);
  g_autoptr (GPtrArray) records = bk_catalog_unsettled_jobs (bench->catalog, &error);
  bk_assert_no_error (error);
  ck_assert_uint_eq (records->len, 1);
  make_job (bench, g_steal_pointer (&records->pdata[0]));
}

void
recover (Bench *bench)
{
  bk_job_recover (bench->job);
  wait_end (bench, 1);
}

void
forbid (Bench *bench, const char *condition)
{
  sqlite3 *handle = NULL;
  g_autofree char *path = g_build_filename (bench->folder, "catalog.sqlite", NULL);
  g_autofree char *script = g_strdup_printf ("CREATE TRIGGER forbid BEFORE UPDATE ON job WHEN %s "
                                             "BEGIN SELECT RAISE (ABORT, 'forbidden'); END", condition);
  ck_assert_int_eq (sqlite3_open (path, &handle), SQLITE_OK);
  ck_assert_msg (sqlite3_exec (handle, script, NULL, NULL, NULL) == SQLITE_OK, "%s", sqlite3_errmsg (handle));
  sqlite3_close (handle);
}
