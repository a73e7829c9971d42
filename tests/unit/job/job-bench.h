/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A job of the fake kind with a real catalog: made, driven to where a test wants it, and looked at. Functions end the test when
 * something is not as it has to be.
 */
#pragma once

#include "fake-job.h"
#include "suite.h"

#include <string.h>

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

Bench *bench_new (void);
void bench_free (Bench *bench);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Bench, bench_free)

/* --- to look at --- */

#define assert_log(bench, wanted)                                                                                   \
  do {                                                                                                              \
    g_autofree char *seen = fake_job_log (&(bench)->fake);                                                          \
    ck_assert_str_eq (seen, wanted);                                                                                \
  } while (0)

/* "plan:done idle:done prepare:failed copy:waiting", of @info. */
char *steps_text (const BkJobInfo *info);
/* The rows' states with the steps before @at done, that one in @state, and those after it waiting. */
char *steps_until (const char *at, const char *state);

#define assert_steps(bench, at, state)                                                                              \
  do {                                                                                                              \
    g_autofree char *seen = steps_text (bk_job_info ((bench)->job));                                                \
    g_autofree char *wanted = steps_until (at, state);                                                              \
    ck_assert_str_eq (seen, wanted);                                                                                \
  } while (0)

/* What the log says of the steps up to @until, "+plan =plan +prepare =prepare"; with @work and @record of that one. */
GString *forward (const char *until, bool record);
void append_undo (GString *text, const char *from);

#define assert_undone(bench, text, from)                                                                            \
  do {                                                                                                              \
    append_undo (text, from);                                                                                       \
    assert_log (bench, (text)->str);                                                                                \
    g_string_free (text, TRUE);                                                                                     \
  } while (0)

BkJobRecord *read_row (Bench *bench);
/* The job and its row are in @state, an end. */
void assert_over (Bench *bench, const char *state, const char *code, bool settled);

/* --- to drive --- */

/* The worker does not wake the main loop when it comes to something: a timer does. */
void until (bool (*condition) (gpointer data), gpointer data);
/* Until the @times-th end. */
void wait_end (Bench *bench, unsigned times);
void run (Bench *bench);
/* Goes on until @step holds the worker. */
void start_and_hold (Bench *bench, const char *step);
void verb (Bench *bench, BkVerb verb, uint64_t value);
void refused (Bench *bench, BkVerb verb);
bool is_idle (gpointer bench);
bool is_paused (gpointer bench);
bool is_running (gpointer bench);
void wait_log (Bench *bench, const char *text);
/* The daemon stops, and its successor finds the row. What is to go wrong is forgotten. */
void restart (Bench *bench);
void recover (Bench *bench);
/* From now on no row may be written for which @condition (SQL, of NEW) holds. */
void forbid (Bench *bench, const char *condition);
