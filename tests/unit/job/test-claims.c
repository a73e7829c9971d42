/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "claims.h"
#include "suite.h"

#include <string.h>

/* "!KEY" refuses, "KEY" waits and is shared, "KEY*" waits and is exclusive. */
static BkClaims *
claims_of (const char *words)
{
  BkClaims *claims = bk_claims_new ();
  g_auto (GStrv) list = g_strsplit (words, " ", -1);
  for (char **word = list; *word; word++) {
    if (**word == '!')
      bk_claims_add_refusing (claims, "%s", *word + 1);
    else if (g_str_has_suffix (*word, "*"))
      bk_claims_add_waiting (claims, true, "%.*s", (int)strlen (*word) - 1, *word);
    else if (**word)
      bk_claims_add_waiting (claims, false, "%s", *word);
  }
  return claims;
}

static const struct {
  const char *a, *b;
  const char *refused; /* NULL: no */
  bool wait;
} cases[] = {
  { "", "", NULL, false },
  { "!disk:vda", "", NULL, false },
  { "!disk:vda", "!disk:vda", "disk:vda", false },
  { "!disk:vda", "!disk:vdb", NULL, false },
  { "!disk:vda", "!disk:vdaa", NULL, false },
  { "!disk:vda !disk:vdb", "!disk:vdc !disk:vdb", "disk:vdb", false },
  /* backup and backup, restore and backup; delete and any */
  { "chain", "chain", NULL, false },
  { "chain*", "chain", NULL, true },
  { "chain*", "chain*", NULL, true },
  { "chain:web01*", "chain:web02*", NULL, false },
  { "chain:web01 chain:web02", "chain:web02*", NULL, true },
  { "!disk:vda chain", "!disk:vda chain*", "disk:vda", true },
  { "!disk:vda chain", "!disk:vdb chain", NULL, false },
  { "!disk:vda chain", "!backup:b1 chain*", NULL, true },
  /* a key refuses only where both refuse, or the other one wants it alone */
  { "!chain", "chain", NULL, false },
  { "!disk:vda", "disk:vda*", "disk:vda", true },
  { "disk:vda* job*", "disk:vda* job*", NULL, true },
};

START_TEST (meet_both_ways)
{
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (BkClaims) a = claims_of (cases[i].a);
    g_autoptr (BkClaims) b = claims_of (cases[i].b);
    const char *there = bk_claims_refused (a, b), *back = bk_claims_refused (b, a);
    ck_assert_msg (g_strcmp0 (there, cases[i].refused) == 0, "'%s' and '%s': %s", cases[i].a, cases[i].b, there);
    ck_assert_msg (g_strcmp0 (back, cases[i].refused) == 0, "'%s' and '%s': %s", cases[i].b, cases[i].a, back);
    ck_assert_msg (bk_claims_must_wait (a, b) == cases[i].wait, "'%s' and '%s'", cases[i].a, cases[i].b);
    ck_assert_msg (bk_claims_must_wait (b, a) == cases[i].wait, "'%s' and '%s'", cases[i].b, cases[i].a);
  }
}
END_TEST

START_TEST (keys_are_formatted)
{
  g_autoptr (BkClaims) a = bk_claims_new ();
  g_autoptr (BkClaims) b = bk_claims_new ();
  bk_claims_add_refusing (a, "disk '%s' of VM '%s'", "vda", "web01");
  bk_claims_add_refusing (b, "disk '%s' of VM '%s'", "vda", "web02");
  ck_assert_ptr_null (bk_claims_refused (a, b));
  bk_claims_add_refusing (b, "disk '%s' of VM '%s'", "vda", "web01");
  ck_assert_str_eq (bk_claims_refused (a, b), "disk 'vda' of VM 'web01'");
}
END_TEST

START_TEST (adding_twice_is_once)
{
  g_autoptr (BkClaims) a = claims_of ("!disk:vda !disk:vda chain chain");
  g_autoptr (BkClaims) b = claims_of ("!disk:vda chain*");
  ck_assert_str_eq (bk_claims_refused (a, b), "disk:vda");
  ck_assert (bk_claims_must_wait (a, b));
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { meet_both_ways, keys_are_formatted, adding_twice_is_once, NULL };
  return bk_suite_run ("claims", tests);
}
