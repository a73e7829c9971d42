/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The runner of job.c, with a kind that only takes notes and a real catalog.
 */
#include "fake-job.h"
#include "suite.h"
#include "worker.h"

#include <sqlite3.h>
#include <string.h>

#define LIMIT_MS 20000

typedef struct {
  char *folder;
  BkCatalog *catalog;
  BkEventRing *events;
  GString *states; /* of the published jobs, without repetitions */
  BkJobKind kind;
  FakeJob fake;
  BkJob *job;
  unsigned ended;
  unsigned awaited; /* of ended */
} Bench;

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

static Bench *
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

static void
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
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Bench, bench_free)

/* --- to look at --- */

#define assert_log(bench, wanted)                                                                                   \
  do {                                                                                                              \
    g_autofree char *seen = fake_job_log (&(bench)->fake);                                                          \
    ck_assert_str_eq (seen, wanted);                                                                                \
  } while (0)

/* "plan:done idle:done prepare:failed copy:waiting", of @info. */
static char *
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

/* The rows' states with the steps before @at done, that one in @state, and those after it waiting. */
static char *
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

#define assert_steps(bench, at, state)                                                                              \
  do {                                                                                                              \
    g_autofree char *seen = steps_text (bk_job_info ((bench)->job));                                                \
    g_autofree char *wanted = steps_until (at, state);                                                              \
    ck_assert_str_eq (seen, wanted);                                                                                \
  } while (0)

/* What the log says of the steps up to @until, "+plan =plan +prepare =prepare"; with @work and @record of that one. */
static GString *
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

static void
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

#define assert_undone(bench, text, from)                                                                            \
  do {                                                                                                              \
    append_undo (text, from);                                                                                       \
    assert_log (bench, (text)->str);                                                                                \
    g_string_free (text, TRUE);                                                                                     \
  } while (0)

static BkJobRecord *
read_row (Bench *bench)
{
  g_autoptr (GError) error = NULL;
  BkJobRecord *record = bk_catalog_get_job (bench->catalog, "j1", &error);
  bk_assert_no_error (error);
  return record;
}

/* The job and its row are in @state, an end. */
static void
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

/* The worker does not wake the main loop when it comes to something: a timer does. */
static void
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

/* Until the @times-th end. */
static void
wait_end (Bench *bench, unsigned times)
{
  bench->awaited = times;
  until (has_ended, bench);
  ck_assert_uint_eq (bench->ended, times);
}

static void
run (Bench *bench)
{
  bk_job_start (bench->job);
  wait_end (bench, 1);
}

/* Goes on until @step holds the worker. */
static void
start_and_hold (Bench *bench, const char *step)
{
  bench->fake.hold = step;
  bk_job_start (bench->job);
  until (fake_job_is_held, &bench->fake);
}

static void
verb (Bench *bench, BkVerb verb, uint64_t value)
{
  g_autoptr (GError) error = NULL;
  ck_assert (bk_job_verb (bench->job, verb, value, &error));
  bk_assert_no_error (error);
}

static void
refused (Bench *bench, BkVerb verb)
{
  g_autoptr (GError) error = NULL;
  ck_assert (!bk_job_verb (bench->job, verb, 0, &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
}

static bool
is_idle (gpointer data)
{
  return !bk_job_is_working (((Bench *)data)->job);
}

static bool
is_paused (gpointer data)
{
  return strcmp (bk_job_info (((Bench *)data)->job)->state, "paused") == 0;
}

static bool
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

static void
wait_log (Bench *bench, const char *text)
{
  Wanted wanted = { &bench->fake, text };
  until (log_has, &wanted);
}

/* The daemon stops, and its successor finds the row. What is to go wrong is forgotten. */
static void
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

static void
recover (Bench *bench)
{
  bk_job_recover (bench->job);
  wait_end (bench, 1);
}

/* From now on no row may be written for which @condition (SQL, of NEW) holds. */
static void
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

/* --- forward --- */

START_TEST (does_all_steps_in_order)
{
  g_autoptr (Bench) bench = bench_new ();
  ck_assert (!bk_job_is_over (bench->job) && !bk_job_is_working (bench->job));
  run (bench);
  assert_log (bench, "+plan =plan +prepare =prepare +copy =copy +release =release +commit =commit");
  ck_assert_str_eq (bench->states->str, "preparing running finalizing completed");
  assert_steps (bench, NULL, NULL);
  assert_over (bench, "completed", NULL, true);
  ck_assert_ptr_null (bk_job_info (bench->job)->step);
  ck_assert_uint_eq (bench->fake.undone, 0);
}
END_TEST

START_TEST (shows_and_stores_the_step_at_hand)
{
  for (const BkStep *step = fake_job_steps; step->name; step++) {
    if (step->work == NULL)
      continue;
    g_autoptr (Bench) bench = bench_new ();
    start_and_hold (bench, step->name);
    ck_assert_str_eq (bk_job_info (bench->job)->state, step->state);
    ck_assert_str_eq (bk_job_info (bench->job)->step, step->name);
    ck_assert (bk_job_is_working (bench->job));
    assert_steps (bench, step->name, "running");
    g_autoptr (BkJobRecord) row = read_row (bench);
    ck_assert_str_eq (row->info->step, step->name);
    g_autofree char *before = fake_job_log (&bench->fake);
    ck_assert_int_eq (json_object_is_type (row->run, json_type_string), 1);
    ck_assert (g_str_has_prefix (before, json_object_get_string (row->run)));
    fake_job_release (&bench->fake);
    wait_end (bench, 1);
    assert_over (bench, "completed", NULL, true);
  }
}
END_TEST

START_TEST (may_be_partial)
{
  g_autoptr (Bench) bench = bench_new ();
  bench->fake.partial = true;
  run (bench);
  ck_assert_str_eq (bench->states->str, "preparing running finalizing partial");
  assert_over (bench, "partial", "partial", true);
  ck_assert_str_eq (bk_job_info (bench->job)->error->message, "1 of 2 disks");
  ck_assert_uint_eq (bench->fake.undone, 0);
}
END_TEST

static bool
has_rate (gpointer data)
{
  return bk_job_info (((Bench *)data)->job)->rate > 0;
}

START_TEST (tells_how_fast_it_goes)
{
  g_autoptr (Bench) bench = bench_new ();
  start_and_hold (bench, "copy");
  uint64_t events = bk_event_ring_last (bench->events);
  until (has_rate, bench);
  ck_assert_uint_gt (bk_event_ring_last (bench->events), events);
  const BkJobInfo *info = bk_job_info (bench->job);
  ck_assert_int_ge (info->eta_seconds, 0);
  fake_job_release (&bench->fake);
  wait_end (bench, 1);
  ck_assert_uint_eq (info->rate, 0);
  ck_assert_int_eq (info->eta_seconds, -1);
}
END_TEST

/* A row that says that nothing is left to be done, of a job that is not over, would be undone after a crash. */
START_TEST (ends_with_the_last_record)
{
  g_autoptr (Bench) bench = bench_new ();
  forbid (bench, "NEW.state = 'finalizing' AND NEW.info NOT LIKE '%\"step\":\"%'");
  run (bench);
  assert_over (bench, "completed", NULL, true);
}
END_TEST

START_TEST (ends_partial_with_the_last_record)
{
  g_autoptr (Bench) bench = bench_new ();
  bench->fake.partial = true;
  forbid (bench, "NEW.state IN ('finalizing', 'completed') AND NEW.info NOT LIKE '%\"step\":\"%'");
  run (bench);
  assert_over (bench, "partial", "partial", true);
}
END_TEST

/* --- failure --- */

START_TEST (failed_work_is_undone)
{
  for (const BkStep *step = fake_job_steps; step->name; step++) {
    if (step->work == NULL)
      continue;
    g_autoptr (Bench) bench = bench_new ();
    bench->fake.fail_work = step->name;
    run (bench);
    GString *log = forward (step->name, false);
    assert_undone (bench, log, step->name);
    assert_steps (bench, step->name, "failed");
    assert_over (bench, "failed", "no-space", true);
    ck_assert (g_str_has_suffix (bench->states->str, "failed"));
    ck_assert_str_eq (bk_job_info (bench->job)->step, step->name);
    ck_assert_uint_eq (bench->fake.undone, 1);
  }
}
END_TEST

/* All is undone first, and only then done again, once. */
START_TEST (begins_anew_where_the_kind_wants_it)
{
  for (const BkStep *step = fake_job_steps; step->name; step++) {
    if (step->work == NULL)
      continue;
    g_autoptr (Bench) bench = bench_new ();
    bench->fake.fail_work = step->name;
    bench->fake.again = true;
    run (bench);
    g_autofree char *log = fake_job_log (&bench->fake);
    g_autoptr (GString) once = forward (NULL, true);
    ck_assert_msg (g_str_has_suffix (log, once->str) && strlen (log) > strlen (once->str), "%s", log);
    assert_over (bench, "completed", NULL, true);
    ck_assert_uint_eq (bench->fake.undone, 1);
  }
}
END_TEST

START_TEST (does_not_begin_anew_what_is_not_undone)
{
  g_autoptr (Bench) bench = bench_new ();
  bench->fake.fail_work = "copy";
  bench->fake.fail_undo = "prepare";
  bench->fake.again = true;
  run (bench);
  assert_over (bench, "failed", "no-space", false);
  ck_assert_uint_eq (bench->fake.undone, 0);
}
END_TEST

START_TEST (failed_record_is_undone)
{
  for (const BkStep *step = fake_job_steps; step->name; step++) {
    if (step->record == NULL)
      continue;
    g_autoptr (Bench) bench = bench_new ();
    bench->fake.fail_record = step->name;
    run (bench);
    GString *log = forward (step->name, true);
    assert_undone (bench, log, step->name);
    assert_steps (bench, step->name, "failed");
    assert_over (bench, "failed", "no-space", true);
    g_autofree char *message = g_strdup_printf ("record of %s fails", step->name);
    ck_assert_str_eq (bk_job_info (bench->job)->error->message, message);
  }
}
END_TEST

/* The row of the step that is done cannot be written: the step counts as failed, in the row as well. */
START_TEST (unwritten_row_is_undone)
{
  for (const BkStep *step = fake_job_steps; step->name; step++) {
    g_autoptr (Bench) bench = bench_new ();
    const char *next = step[1].name;
    g_autofree char *condition = next ? g_strdup_printf ("NEW.info LIKE '%%\"step\":\"%s\"%%'", next)
                                      : g_strdup ("NEW.state = 'completed'");
    forbid (bench, condition);
    run (bench);
    ck_assert_str_eq (bk_job_info (bench->job)->step, step->name);
    assert_steps (bench, step->name, "failed");
    assert_over (bench, "failed", "failed", true);
    GString *log = forward (step->name, true);
    assert_undone (bench, log, step->name);
  }
}
END_TEST

START_TEST (catalog_that_cannot_be_written_begins_nothing)
{
  g_autoptr (Bench) bench = bench_new ();
  forbid (bench, "true");
  run (bench);
  ck_assert_str_eq (bk_job_info (bench->job)->state, "failed");
  assert_log (bench, "-plan undone");
}
END_TEST

/* --- undo that cannot be done --- */

START_TEST (failed_undo_stays_unsettled)
{
  g_autoptr (Bench) bench = bench_new ();
  bench->fake.fail_work = "copy";
  bench->fake.fail_undo = "prepare";
  run (bench);
  /* The others do their part all the same. */
  assert_log (bench, "+plan =plan +prepare =prepare +copy -copy -prepare -plan");
  assert_over (bench, "failed", "no-space", false);
  ck_assert_uint_eq (bench->fake.undone, 0);

  bk_job_settle (bench->job);
  bk_job_settle (bench->job); /* at it already */
  wait_end (bench, 2);
  assert_over (bench, "failed", "no-space", false);
  ck_assert_uint_eq (bench->fake.undone, 0);

  bench->fake.fail_undo = NULL;
  bk_job_settle (bench->job);
  wait_end (bench, 3);
  assert_over (bench, "failed", "no-space", true);
  ck_assert_uint_eq (bench->fake.undone, 1);
  ck_assert_str_eq (bk_job_info (bench->job)->error->message, "work of copy fails");

  bk_job_settle (bench->job);
  ck_assert (!bk_job_is_working (bench->job));
  ck_assert_uint_eq (bench->fake.undone, 1);
  assert_log (bench, "+plan =plan +prepare =prepare +copy -copy -prepare -plan"
                     " -copy -prepare -plan -copy -prepare -plan undone");
}
END_TEST

START_TEST (unsettled_job_is_undone_after_a_restart)
{
  for (const BkStep *step = fake_job_steps; step->name; step++) {
    if (step->record == NULL)
      continue;
    g_autoptr (Bench) bench = bench_new ();
    bench->fake.fail_record = step->name;
    bench->fake.fail_undo = "plan";
    bench->kind.adopt_from = "copy";
    run (bench);
    assert_over (bench, "failed", "no-space", false);
    restart (bench);
    recover (bench);
    GString *log = g_string_new (NULL);
    assert_undone (bench, log, step->name);
    assert_over (bench, "failed", "no-space", true);
    assert_steps (bench, step->name, "failed");
  }
}
END_TEST

/* --- cancel --- */

START_TEST (cancelled_while_queued)
{
  g_autoptr (Bench) bench = bench_new ();
  verb (bench, BK_VERB_CANCEL, 0);
  ck_assert_uint_eq (bench->ended, 1);
  assert_over (bench, "cancelled", "cancelled", true);
  ck_assert_str_eq (bench->states->str, "cancelled");
  assert_log (bench, "undone");
  assert_steps (bench, "plan", "waiting");
  ck_assert_int_eq (bk_job_info (bench->job)->started_at, 0);
}
END_TEST

START_TEST (tells_what_it_waits_for)
{
  g_autoptr (Bench) bench = bench_new ();
  bk_job_set_waiting (bench->job, "waits for job '7'");
  ck_assert_str_eq (bk_job_info (bench->job)->reason, "waits for job '7'");
  verb (bench, BK_VERB_CANCEL, 0);
  ck_assert_ptr_null (bk_job_info (bench->job)->reason);
}
END_TEST

START_TEST (cancelled_in_a_step)
{
  for (const BkStep *step = fake_job_steps; strcmp (step->name, "release") != 0; step++) {
    if (step->work == NULL)
      continue;
    g_autoptr (Bench) bench = bench_new ();
    start_and_hold (bench, step->name);
    verb (bench, BK_VERB_CANCEL, 0);
    ck_assert (!bk_job_is_over (bench->job));
    g_autoptr (BkJobInfo) snapshot = bk_job_snapshot (bench->job);
    ck_assert (snapshot->actions == NULL);
    refused (bench, BK_VERB_CANCEL);
    wait_end (bench, 1);
    GString *log = forward (step->name, false);
    assert_undone (bench, log, step->name);
    assert_steps (bench, step->name, "undone");
    assert_over (bench, "cancelled", "cancelled", true);
    ck_assert_str_eq (bk_job_info (bench->job)->error->message, "cancelled on request");
  }
}
END_TEST

/* The step at hand comes to a good end; the next one is not begun. */
START_TEST (cancelled_before_a_step)
{
  for (const BkStep *step = fake_job_steps; strcmp (step->name, "release") != 0; step++) {
    if (step->work == NULL)
      continue;
    g_autoptr (Bench) bench = bench_new ();
    bench->fake.deaf = true;
    start_and_hold (bench, step->name);
    verb (bench, BK_VERB_CANCEL, 0);
    wait_end (bench, 1);
    GString *log = forward (step->name, true);
    assert_undone (bench, log, step[1].name);
    assert_steps (bench, step[1].name, "undone");
    assert_over (bench, "cancelled", "cancelled", true);
  }
}
END_TEST

START_TEST (not_cancelled_at_the_end)
{
  static const char *const late[] = { "release", "commit" };
  for (size_t i = 0; i < G_N_ELEMENTS (late); i++) {
    g_autoptr (Bench) bench = bench_new ();
    start_and_hold (bench, late[i]);
    refused (bench, BK_VERB_CANCEL);
    fake_job_release (&bench->fake);
    wait_end (bench, 1);
    assert_over (bench, "completed", NULL, true);
    refused (bench, BK_VERB_CANCEL);
  }
}
END_TEST

/* It has failed; only the undo is not done yet. */
START_TEST (not_cancelled_while_undone)
{
  g_autoptr (Bench) bench = bench_new ();
  bench->fake.fail_work = "copy";
  bench->fake.hold_undo = "prepare";
  bk_job_start (bench->job);
  until (fake_job_is_held, &bench->fake);
  refused (bench, BK_VERB_CANCEL);
  refused (bench, BK_VERB_PAUSE);
  g_autoptr (BkJobInfo) snapshot = bk_job_snapshot (bench->job);
  ck_assert (snapshot->actions == NULL);
  fake_job_release (&bench->fake);
  wait_end (bench, 1);
  assert_over (bench, "failed", "no-space", true);
}
END_TEST

/* --- after a restart --- */

START_TEST (detach_leaves_the_row)
{
  for (const BkStep *step = fake_job_steps; step->name; step++) {
    if (step->work == NULL)
      continue;
    g_autoptr (Bench) bench = bench_new ();
    start_and_hold (bench, step->name);
    g_autofree char *states = g_strdup (bench->states->str);
    bk_job_detach (bench->job);
    until (is_idle, bench);
    g_autoptr (BkJobRecord) row = read_row (bench);
    ck_assert_str_eq (row->info->step, step->name);
    ck_assert (!bk_job_state_is_end (row->info->state) && !row->settled);
    ck_assert_ptr_null (row->info->error);
    ck_assert_uint_eq (bench->ended, 0);
    ck_assert_str_eq (bench->states->str, states);
    GString *log = forward (step->name, false);
    assert_log (bench, log->str);
    g_string_free (log, TRUE);
  }
}
END_TEST

START_TEST (recovered_job_is_undone)
{
  for (const BkStep *step = fake_job_steps; step->name; step++) {
    if (step->work == NULL)
      continue;
    g_autoptr (Bench) bench = bench_new ();
    start_and_hold (bench, step->name);
    restart (bench);
    recover (bench);
    GString *log = g_string_new (NULL);
    assert_undone (bench, log, step->name);
    assert_over (bench, "failed", "failed", true);
    ck_assert_str_eq (bk_job_info (bench->job)->error->message, FAKE_JOB_WHY);
    ck_assert_str_eq (bench->states->str, "failed");
    g_autoptr (BkJobRecord) row = read_row (bench);
    ck_assert_str_eq (row->info->step, step->name);
  }
}
END_TEST

START_TEST (recovered_job_is_adopted)
{
  bool adopt = false;
  for (const BkStep *step = fake_job_steps; step->name; step++) {
    adopt |= strcmp (step->name, "copy") == 0;
    if (step->work == NULL)
      continue;
    g_autoptr (Bench) bench = bench_new ();
    bench->kind.adopt_from = "copy";
    start_and_hold (bench, step->name);
    restart (bench);
    recover (bench);
    GString *log = forward ("commit", true);
    if (adopt) {
      g_autofree char *first = g_strconcat ("+", step->name, NULL);
      assert_log (bench, strstr (log->str, first));
      assert_over (bench, "completed", NULL, true);
      assert_steps (bench, NULL, NULL);
      ck_assert_str_eq (bench->states->str, strcmp (step->name, "copy") == 0 ? "running finalizing completed" : "finalizing completed");
    } else {
      g_string_truncate (log, 0);
      append_undo (log, step->name);
      assert_log (bench, log->str);
      assert_over (bench, "failed", "failed", true);
    }
    g_string_free (log, TRUE);
  }
}
END_TEST

/* An undo that had begun goes on, whatever the step; the job ends as it would have. */
START_TEST (undo_goes_on_after_a_restart)
{
  for (int cancel = 0; cancel < 2; cancel++) {
    g_autoptr (Bench) bench = bench_new ();
    bench->kind.adopt_from = "copy";
    bench->fake.hold_undo = "prepare";
    bench->fake.fail_work = cancel ? NULL : "copy";
    if (cancel) {
      start_and_hold (bench, "copy");
      verb (bench, BK_VERB_CANCEL, 0);
    } else {
      bk_job_start (bench->job);
    }
    wait_log (bench, "-prepare");
    restart (bench);
    ck_assert (!bk_job_is_over (bench->job));
    recover (bench);
    assert_log (bench, "-copy -prepare -plan undone");
    assert_over (bench, cancel ? "cancelled" : "failed", cancel ? "cancelled" : "no-space", true);
    ck_assert_str_eq (bk_job_info (bench->job)->error->message, cancel ? "cancelled on request" : "work of copy fails");
    assert_steps (bench, "copy", cancel ? "undone" : "failed");
  }
}
END_TEST

/* The daemon stops before the worker has heard of it. */
START_TEST (cancel_lasts_over_a_restart)
{
  g_autoptr (Bench) bench = bench_new ();
  bench->kind.adopt_from = "copy";
  start_and_hold (bench, "copy");
  verb (bench, BK_VERB_CANCEL, 0);
  restart (bench);
  recover (bench);
  assert_log (bench, "-copy -prepare -plan undone");
  assert_over (bench, "cancelled", "cancelled", true);
}
END_TEST

START_TEST (undo_after_a_failed_record_goes_on_after_a_restart)
{
  for (const BkStep *step = fake_job_steps; step->name; step++) {
    if (step->record == NULL)
      continue;
    g_autoptr (Bench) bench = bench_new ();
    bench->kind.adopt_from = "copy";
    bench->fake.fail_record = step->name;
    bench->fake.hold_undo = "plan";
    bk_job_start (bench->job);
    until (fake_job_is_held, &bench->fake);
    restart (bench);
    recover (bench);
    GString *log = g_string_new (NULL);
    assert_undone (bench, log, step->name);
    assert_over (bench, "failed", "no-space", true);
  }
}
END_TEST

/* A row of another version, whose steps were others: everything that might have been done is undone. */
START_TEST (unknown_step_undoes_everything)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (Bench) bench = bench_new ();
  start_and_hold (bench, "copy");
  g_autoptr (BkJobRecord) row = read_row (bench);
  while (row->info->steps->len > 2) {
    bk_job_step_free (row->info->steps->pdata[row->info->steps->len - 1]);
    g_ptr_array_set_size (row->info->steps, (int)row->info->steps->len - 1);
  }
  g_free (row->info->step);
  row->info->step = g_strdup ("scan");
  ck_assert (bk_catalog_update_job (bench->catalog, row, &error));
  restart (bench);
  recover (bench);
  GString *log = g_string_new (NULL);
  assert_undone (bench, log, "commit");
  assert_over (bench, "failed", "failed", true);
}
END_TEST

/* --- pause, resume, speed --- */

/* The state changes at once, and the worker follows. */
START_TEST (worker_carries_out_verbs_in_order)
{
  g_autoptr (Bench) bench = bench_new ();
  start_and_hold (bench, "copy");
  verb (bench, BK_VERB_SPEED, 100);
  verb (bench, BK_VERB_SPEED, 200);
  verb (bench, BK_VERB_PAUSE, 0);
  ck_assert (is_paused (bench));
  ck_assert_uint_eq (bk_job_info (bench->job)->speed, 200);
  refused (bench, BK_VERB_PAUSE);
  g_autoptr (BkJobRecord) paused = read_row (bench);
  ck_assert_str_eq (paused->info->state, "paused");
  ck_assert_uint_eq (paused->info->speed, 200);
  verb (bench, BK_VERB_SPEED, 300);
  verb (bench, BK_VERB_RESUME, 0);
  ck_assert (is_running (bench));
  refused (bench, BK_VERB_RESUME);
  wait_log (bench, "+copy speed=100 speed=200 pause speed=300 resume");
  fake_job_release (&bench->fake);
  wait_end (bench, 1);
  ck_assert_str_eq (bench->states->str, "preparing running paused running finalizing completed");
  ck_assert_uint_eq (bk_job_info (bench->job)->speed, 300);
}
END_TEST

/* Asked for before the worker is there: it finds them when it comes. */
START_TEST (speed_waits_for_the_worker)
{
  g_autoptr (Bench) bench = bench_new ();
  verb (bench, BK_VERB_SPEED, 100);
  ck_assert_uint_eq (bk_job_info (bench->job)->speed, 100);
  start_and_hold (bench, "prepare");
  wait_log (bench, "+prepare speed=100");
  fake_job_release (&bench->fake);
  wait_end (bench, 1);
  assert_over (bench, "completed", NULL, true);
}
END_TEST

static void
main_verb (BkJob *job G_GNUC_UNUSED, gpointer data, BkVerb verb, uint64_t value)
{
  FakeJob *fake = data;
  ck_assert_ptr_eq (g_thread_self (), fake->main);
  g_mutex_lock (&fake->mutex);
  g_string_append_printf (fake->log, " main-%s=%u", bk_verb_name (verb), (unsigned)value);
  g_mutex_unlock (&fake->mutex);
}

START_TEST (kind_carries_out_verbs_itself)
{
  g_autoptr (Bench) bench = bench_new ();
  bench->kind.verb = main_verb;
  start_and_hold (bench, "copy");
  verb (bench, BK_VERB_PAUSE, 0);
  ck_assert (is_paused (bench));
  verb (bench, BK_VERB_SPEED, 5);
  verb (bench, BK_VERB_RESUME, 0);
  ck_assert (is_running (bench));
  fake_job_release (&bench->fake);
  wait_end (bench, 1);
  g_autofree char *log = fake_job_log (&bench->fake);
  ck_assert_ptr_nonnull (strstr (log, "+copy main-pause=0 main-speed=5 main-resume=0 =copy"));
  ck_assert_str_eq (bench->states->str, "preparing running paused running finalizing completed");
}
END_TEST

START_TEST (verbs_have_their_time)
{
  g_autoptr (Bench) bench = bench_new ();
  bench->kind.verbs &= ~(1u << BK_VERB_SPEED);
  refused (bench, BK_VERB_PAUSE);
  refused (bench, BK_VERB_RESUME);
  start_and_hold (bench, "prepare");
  refused (bench, BK_VERB_PAUSE);
  refused (bench, BK_VERB_RESUME);
  refused (bench, BK_VERB_SPEED);
  fake_job_release (&bench->fake);
  wait_end (bench, 1);
  for (unsigned v = 0; v < BK_VERB_LAST; v++)
    refused (bench, (BkVerb)v);
}
END_TEST

static Bench *
paused_bench (void)
{
  Bench *bench = bench_new ();
  bench->kind.adopt_from = "copy";
  start_and_hold (bench, "copy");
  verb (bench, BK_VERB_PAUSE, 0);
  ck_assert (is_paused (bench));
  return bench;
}

START_TEST (paused_job_may_be_cancelled)
{
  g_autoptr (Bench) bench = paused_bench ();
  verb (bench, BK_VERB_CANCEL, 0);
  wait_end (bench, 1);
  assert_over (bench, "cancelled", "cancelled", true);
  ck_assert_str_eq (bench->states->str, "preparing running paused cancelled");
}
END_TEST

START_TEST (paused_job_may_fail_or_end)
{
  for (int fails = 0; fails < 2; fails++) {
    g_autoptr (Bench) bench = paused_bench ();
    bench->fake.fail_work = fails ? "copy" : NULL;
    fake_job_release (&bench->fake);
    wait_end (bench, 1);
    ck_assert_str_eq (bench->states->str, fails ? "preparing running paused failed"
                                                : "preparing running paused finalizing completed");
  }
}
END_TEST

/* What does the copy is paused still: nobody has told it to go on. */
START_TEST (paused_job_is_paused_after_a_restart)
{
  g_autoptr (Bench) bench = paused_bench ();
  restart (bench);
  bench->fake.hold = "copy";
  bk_job_recover (bench->job);
  ck_assert (is_paused (bench));
  wait_log (bench, "+copy pause");
  verb (bench, BK_VERB_RESUME, 0);
  ck_assert (is_running (bench));
  fake_job_release (&bench->fake);
  wait_end (bench, 1);
  assert_over (bench, "completed", NULL, true);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    does_all_steps_in_order, shows_and_stores_the_step_at_hand, may_be_partial, tells_how_fast_it_goes,
    ends_with_the_last_record, ends_partial_with_the_last_record, failed_work_is_undone, begins_anew_where_the_kind_wants_it, does_not_begin_anew_what_is_not_undone, failed_record_is_undone,
    unwritten_row_is_undone, catalog_that_cannot_be_written_begins_nothing, failed_undo_stays_unsettled,
    unsettled_job_is_undone_after_a_restart, cancelled_while_queued, tells_what_it_waits_for, cancelled_in_a_step, cancelled_before_a_step,
    not_cancelled_at_the_end, not_cancelled_while_undone, detach_leaves_the_row, recovered_job_is_undone,
    recovered_job_is_adopted, undo_goes_on_after_a_restart, cancel_lasts_over_a_restart, undo_after_a_failed_record_goes_on_after_a_restart,
    unknown_step_undoes_everything, worker_carries_out_verbs_in_order, speed_waits_for_the_worker, kind_carries_out_verbs_itself,
    verbs_have_their_time, paused_job_may_be_cancelled, paused_job_may_fail_or_end, paused_job_is_paused_after_a_restart,
    NULL
  };
  return bk_suite_run ("job", tests);
}
