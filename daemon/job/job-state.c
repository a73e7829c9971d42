/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job.h"

#include <string.h>

enum { QUEUED, PREPARING, RUNNING, PAUSED, FINALIZING, COMPLETED, PARTIAL, FAILED, CANCELLED, N_STATES };

/* Rows: from; columns: to; both in the order of bk_job_states. A state may follow itself where a step follows
 * another in it. */
static const bool transitions[N_STATES][N_STATES] = {
  /*                Qu Pr Ru Pa Fi  Co Pa Fa Ca */
  [QUEUED]     = {  0, 1, 0, 0, 0,  0, 0, 1, 1 },
  [PREPARING]  = {  0, 1, 1, 0, 1,  0, 0, 1, 1 },
  [RUNNING]    = {  0, 1, 1, 1, 1,  0, 0, 1, 1 },
  [PAUSED]     = {  0, 1, 1, 0, 1,  0, 0, 1, 1 },
  [FINALIZING] = {  0, 1, 0, 0, 1,  1, 1, 1, 0 },
  [COMPLETED]  = {  0, 0, 0, 0, 0,  0, 0, 0, 0 },
  [PARTIAL]    = {  0, 0, 0, 0, 0,  0, 0, 0, 0 },
  [FAILED]     = {  0, 0, 0, 0, 0,  0, 0, 0, 0 },
  [CANCELLED]  = {  0, 0, 0, 0, 0,  0, 0, 0, 0 },
};

static const bool verbs[BK_VERB_LAST][N_STATES] = {
  /*                  Qu Pr Ru Pa Fi  Co Pa Fa Ca */
  [BK_VERB_CANCEL] = { 1, 1, 1, 1, 0,  0, 0, 0, 0 },
  [BK_VERB_PAUSE]  = { 0, 0, 1, 0, 0,  0, 0, 0, 0 },
  [BK_VERB_RESUME] = { 0, 0, 0, 1, 0,  0, 0, 0, 0 },
  [BK_VERB_SPEED]  = { 1, 1, 1, 1, 0,  0, 0, 0, 0 },
};

static const char *const verb_names[BK_VERB_LAST] = { "cancel", "pause", "resume", "speed" };

static unsigned
index_of (const char *state)
{
  unsigned i = 0;
  while (bk_job_states[i] && strcmp (bk_job_states[i], state) != 0)
    i++;
  g_assert (i < N_STATES);
  return i;
}

bool
bk_job_state_may_follow (const char *from, const char *to)
{
  return transitions[index_of (from)][index_of (to)];
}

bool
bk_job_state_is_end (const char *state)
{
  return index_of (state) >= COMPLETED;
}

bool
bk_job_verb_allowed (BkVerb verb, const char *state, unsigned kind_verbs)
{
  return (kind_verbs & (1u << verb)) && verbs[verb][index_of (state)];
}

const char *
bk_verb_name (BkVerb verb)
{
  return verb_names[verb];
}

GStrv
bk_job_actions (const char *state, unsigned kind_verbs)
{
  g_autoptr (GStrvBuilder) actions = g_strv_builder_new ();
  for (unsigned verb = 0; verb < BK_VERB_LAST; verb++)
    if (bk_job_verb_allowed ((BkVerb)verb, state, kind_verbs))
      g_strv_builder_add (actions, verb_names[verb]);
  return g_strv_builder_end (actions);
}
