/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The runner of job.c: a job is cancelled, paused, resumed and slowed down.
 */
#include "job-bench.h"

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
    cancelled_while_queued, tells_what_it_waits_for, cancelled_in_a_step, cancelled_before_a_step,
    not_cancelled_at_the_end, not_cancelled_while_undone, worker_carries_out_verbs_in_order,
    speed_waits_for_the_worker, kind_carries_out_verbs_itself, verbs_have_their_time, paused_job_may_be_cancelled,
    paused_job_may_fail_or_end, paused_job_is_paused_after_a_restart, NULL
  };
  return bk_suite_run ("job-cancel", tests);
}
