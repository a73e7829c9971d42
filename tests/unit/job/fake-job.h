/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A job kind that does nothing but write down what is asked of it, and in which thread, and fails or waits where a
 * test says so. Its steps:
 *
 *   plan, idle (without functions), prepare    preparing
 *   copy                                       running
 *   release, commit                            finalizing
 *
 * In the log, "+copy" is the step's work, "=copy" its record function and "-copy" its undo; verbs that were carried
 * out have their names, speed with its value.
 */
#pragma once

#include "job.h"

/* What the kind says of a job that a restart has undone. */
#define FAKE_JOB_WHY "the daemon was stopped"

typedef struct {
  /* Steps where something happens; NULL = nowhere. */
  const char *fail_work, *fail_record, *fail_undo;
  const char *hold;      /* work waits, and carries out verbs, until it is cancelled or released */
  const char *hold_undo; /* undo waits until it is released */
  bool deaf;             /* work on hold ends well when it is cancelled */
  bool partial;          /* said by record of commit */
  bool again;            /* it begins anew when it has failed, and then nothing fails */

  /* what happened */
  GString *log;
  unsigned undone, freed;

  GMutex mutex; /* for the log and what follows */
  const char *held;
  bool released;
  GThread *main;
} FakeJob;

void fake_job_init (FakeJob *fake);
void fake_job_clear (FakeJob *fake);

extern const BkJobKind fake_job_kind; /* its data is a FakeJob, which outlives the job */
extern const BkStep fake_job_steps[];

/* True while something waits. */
bool fake_job_is_held (gpointer fake);
void fake_job_release (FakeJob *fake);
/* The log so far; (transfer full). */
char *fake_job_log (FakeJob *fake);
