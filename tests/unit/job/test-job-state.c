/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job.h"
#include "suite.h"

#include <string.h>

/* Read from the picture in job.h, and not from the tables: what may follow what, and who may be asked for what. */
static const struct {
  const char *state;
  const char *followers;
  const char *verbs;
  bool end;
} table[] = {
  { "queued", "preparing failed cancelled", "cancel speed", false },
  { "preparing", "preparing running finalizing failed cancelled", "cancel speed", false },
  { "running", "preparing running paused finalizing failed cancelled", "cancel pause speed", false },
  { "paused", "preparing running finalizing failed cancelled", "cancel resume speed", false },
  { "finalizing", "preparing finalizing completed partial failed", "", false },
  { "completed", "", "", true },
  { "partial", "", "", true },
  { "failed", "", "", true },
  { "cancelled", "", "", true },
};

static const char *const verbs[] = { "cancel", "pause", "resume", "speed" };

#define ALL_VERBS ((1u << BK_VERB_LAST) - 1)

static bool
has_word (const char *words, const char *word)
{
  g_auto (GStrv) list = g_strsplit (words, " ", -1);
  return g_strv_contains ((const char *const *)list, word);
}

START_TEST (knows_the_states)
{
  ck_assert_uint_eq (G_N_ELEMENTS (table), g_strv_length ((GStrv)bk_job_states));
  for (size_t i = 0; i < G_N_ELEMENTS (table); i++)
    ck_assert_str_eq (bk_job_states[i], table[i].state);
}
END_TEST

START_TEST (goes_where_the_picture_goes)
{
  for (size_t from = 0; from < G_N_ELEMENTS (table); from++)
    for (size_t to = 0; to < G_N_ELEMENTS (table); to++)
      ck_assert_msg (bk_job_state_may_follow (table[from].state, table[to].state)
                         == has_word (table[from].followers, table[to].state),
                     "%s to %s", table[from].state, table[to].state);
}
END_TEST

START_TEST (ends_have_no_way_out)
{
  for (size_t i = 0; i < G_N_ELEMENTS (table); i++) {
    ck_assert_msg (bk_job_state_is_end (table[i].state) == table[i].end, "%s", table[i].state);
    bool has_way_out = false;
    for (size_t to = 0; to < G_N_ELEMENTS (table); to++)
      has_way_out |= bk_job_state_may_follow (table[i].state, table[to].state);
    ck_assert_msg (has_way_out != table[i].end, "%s", table[i].state);
  }
}
END_TEST

START_TEST (failed_is_always_near)
{
  for (size_t i = 0; i < G_N_ELEMENTS (table); i++)
    ck_assert_msg (bk_job_state_may_follow (table[i].state, "failed") == !bk_job_state_is_end (table[i].state), "%s",
                   table[i].state);
}
END_TEST

START_TEST (verbs_have_names)
{
  for (unsigned verb = 0; verb < BK_VERB_LAST; verb++)
    ck_assert_str_eq (bk_verb_name ((BkVerb)verb), verbs[verb]);
}
END_TEST

START_TEST (verbs_are_for_their_states)
{
  for (size_t i = 0; i < G_N_ELEMENTS (table); i++) {
    for (unsigned verb = 0; verb < BK_VERB_LAST; verb++) {
      bool wanted = has_word (table[i].verbs, verbs[verb]);
      ck_assert_msg (bk_job_verb_allowed ((BkVerb)verb, table[i].state, ALL_VERBS) == wanted, "%s when %s", verbs[verb],
                     table[i].state);
      ck_assert_msg (bk_job_verb_allowed ((BkVerb)verb, table[i].state, 1u << verb) == wanted, "%s when %s", verbs[verb],
                     table[i].state);
      ck_assert_msg (!bk_job_verb_allowed ((BkVerb)verb, table[i].state, ALL_VERBS & ~(1u << verb)),
                     "%s when %s, of a kind that does not know it", verbs[verb], table[i].state);
    }
  }
}
END_TEST

START_TEST (actions_are_the_allowed_verbs)
{
  for (size_t i = 0; i < G_N_ELEMENTS (table); i++) {
    for (unsigned known = 0; known <= ALL_VERBS; known++) {
      g_auto (GStrv) actions = bk_job_actions (table[i].state, known);
      for (unsigned verb = 0; verb < BK_VERB_LAST; verb++)
        ck_assert_msg (g_strv_contains ((const char *const *)actions, verbs[verb])
                           == bk_job_verb_allowed ((BkVerb)verb, table[i].state, known),
                       "%s when %s, known %u", verbs[verb], table[i].state, known);
    }
    g_auto (GStrv) all = bk_job_actions (table[i].state, ALL_VERBS);
    g_autofree char *line = g_strjoinv (" ", all);
    ck_assert_str_eq (line, table[i].verbs);
  }
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { knows_the_states, goes_where_the_picture_goes, ends_have_no_way_out, failed_is_always_near,
                                 verbs_have_names, verbs_are_for_their_states, actions_are_the_allowed_verbs, NULL };
  return bk_suite_run ("job-state", tests);
}
