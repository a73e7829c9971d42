/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * How the statements find their rows: not by reading a whole table, and not by sorting. Every statement that a
 * function has used is in the connection's cache, so a new query is judged here without being listed.
 */
#include "catalog-private.h"
#include "samples.h"
#include "suite.h"

#include <string.h>

#define JOBS 20000

static void
use_lists_of_jobs (BkCatalog *catalog)
{
  const char *const none_or[][2] = { { NULL, "web01" }, { NULL, "queued" }, { NULL, "backup" } };
  for (int i = 0; i < 8; i++) {
    const BkJobFilter filter = { none_or[0][i & 1], none_or[1][i >> 1 & 1], none_or[2][i >> 2 & 1], 0, 0 };
    g_autoptr (GPtrArray) jobs = bk_catalog_list_jobs (catalog, &filter, NULL);
    ck_assert_uint_eq (jobs->len, 1);
  }
  g_autoptr (GPtrArray) unsettled = bk_catalog_unsettled_jobs (catalog, NULL);
  ck_assert_uint_eq (unsettled->len, 1);
}

static void
use_other_lists (BkCatalog *catalog)
{
  const char *const vms[] = { NULL, "web01" };
  const char *const repositories[] = { NULL, "default" };
  for (int i = 0; i < 4; i++) {
    g_autoptr (GPtrArray) backups = bk_catalog_list_backups (catalog, vms[i & 1], repositories[i >> 1], NULL);
    ck_assert_uint_eq (backups->len, 1);
  }
  for (int i = 0; i < 2; i++) {
    g_autoptr (GPtrArray) checkpoints = bk_catalog_list_checkpoints (catalog, vms[i], NULL);
    ck_assert_uint_eq (checkpoints->len, 1);
    g_autoptr (BkCheckpointInfo) checkpoint = bk_catalog_get_checkpoint (catalog, vms[i], "c", NULL);
    ck_assert_ptr_nonnull (checkpoint);
  }
  g_autoptr (GPtrArray) all_vms = bk_catalog_list_vms (catalog, NULL);
  g_autoptr (GPtrArray) all_repositories = bk_catalog_list_repositories (catalog, NULL);
  ck_assert_uint_eq (all_vms->len + all_repositories->len, 2);
}

static void
use_single_rows (BkCatalog *catalog)
{
  g_autoptr (BkJobRecord) job = sample_small_job ("j1", "web01", "queued");
  g_autoptr (BkBackupInfo) backup = sample_backup ("b1", "web01", "default", 1, "b0");
  g_autoptr (BkCheckpointInfo) checkpoint = sample_checkpoint ("c1", "base", "web01", NULL);
  sample_add_vm (catalog, "web01");
  sample_add_repository (catalog, "default");
  ck_assert (bk_catalog_insert_job (catalog, job, NULL) && bk_catalog_update_job (catalog, job, NULL));
  ck_assert (bk_catalog_put_backup (catalog, backup, NULL) && bk_catalog_put_checkpoint (catalog, checkpoint, NULL));
  g_autoptr (BkJobRecord) got_job = bk_catalog_get_job (catalog, "j", NULL);
  g_autoptr (BkBackupInfo) got_backup = bk_catalog_get_backup (catalog, "b", NULL);
  g_auto (GStrv) children = bk_catalog_children_of_backup (catalog, "b0", NULL);
  ck_assert (got_job && got_backup && children[0]);
}

static void
use_removals (BkCatalog *catalog)
{
  ck_assert (bk_catalog_remove_checkpoint (catalog, "c1", NULL) && bk_catalog_remove_backup (catalog, "b1", NULL));
  ck_assert (bk_catalog_remove_vm (catalog, "web01", NULL) && bk_catalog_remove_repository (catalog, "default", NULL));
}

/* Reading all is right where all is asked for: then by an index, in order. */
static bool
may_scan (const char *detail, const char *sql)
{
  if (strstr (sql, " WHERE ") == NULL)
    return strstr (detail, "USING") || g_str_equal (detail, "SCAN checkpoint") || g_str_equal (detail, "SCAN instance");
  return strstr (detail, "USING INDEX job_unsettled") != NULL; /* holds none but the rows that are wanted */
}

static void
judge_step (const char *detail, const char *sql)
{
  bool sorts = strstr (detail, "TEMP B-TREE") && !strstr (sql, "backup_parent"); /* a handful of children */
  sorts = sorts && !strstr (sql, "WHERE name = ?1");                              /* a handful of namesakes */
  ck_assert_msg (!g_str_has_prefix (detail, "SCAN") || may_scan (detail, sql), "'%s' for %s", detail, sql);
  ck_assert_msg (!sorts, "'%s' for %s", detail, sql);
}

static void
judge (sqlite3 *handle, const char *sql)
{
  g_autofree char *explain = g_strconcat ("EXPLAIN QUERY PLAN ", sql, NULL);
  sqlite3_stmt *plan = NULL;
  ck_assert_int_eq (sqlite3_prepare_v2 (handle, explain, -1, &plan, NULL), SQLITE_OK);
  while (sqlite3_step (plan) == SQLITE_ROW)
    judge_step ((const char *)sqlite3_column_text (plan, 3), sql);
  sqlite3_finalize (plan);
}

START_TEST (no_statement_reads_a_whole_table)
{
  g_autoptr (BkCatalog) catalog = sample_open (NULL);
  use_single_rows (catalog);
  use_lists_of_jobs (catalog);
  use_other_lists (catalog);
  use_removals (catalog);
  sqlite3 *handle = bk_sql_handle (catalog->sql);
  g_autoptr (GPtrArray) texts = g_ptr_array_new_with_free_func (g_free);
  for (sqlite3_stmt *stmt = sqlite3_next_stmt (handle, NULL); stmt; stmt = sqlite3_next_stmt (handle, stmt))
    if (!g_str_has_prefix (sqlite3_sql (stmt), "PRAGMA") && !strstr (sqlite3_sql (stmt), "sqlite_schema"))
      g_ptr_array_add (texts, g_strdup (sqlite3_sql (stmt)));
  ck_assert_uint_ge (texts->len, 38);
  for (unsigned i = 0; i < texts->len; i++)
    judge (handle, texts->pdata[i]);
}
END_TEST

/* Steps of SQLite's machine since the last call: the same on every machine, other than time. */
static int
steps_taken (BkCatalog *catalog)
{
  sqlite3 *handle = bk_sql_handle (catalog->sql);
  int steps = 0;
  for (sqlite3_stmt *stmt = sqlite3_next_stmt (handle, NULL); stmt; stmt = sqlite3_next_stmt (handle, stmt))
    steps += sqlite3_stmt_status (stmt, SQLITE_STMTSTATUS_VM_STEP, 1);
  return steps;
}

static void
insert_many_jobs (BkCatalog *catalog)
{
  g_autofree char *script = g_strdup_printf (
      "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
      "INSERT INTO job (id, vm, state, kind, settled, info) SELECT printf ('j%%06d', i), printf ('vm%%d', i %% 10), "
      "'completed', 'backup', 1, printf ('{\"id\":\"j%%06d\",\"kind\":\"backup\",\"state\":\"completed\"}', i) FROM n",
      JOBS);
  ck_assert (bk_sql_exec (catalog->sql, script, NULL));
}

START_TEST (a_page_costs_the_same_in_a_long_history)
{
  g_autoptr (BkCatalog) catalog = sample_open (NULL);
  insert_many_jobs (catalog);
  const BkJobFilter filters[] = { { 0 }, { .vm = "vm3" }, { .state = "completed" }, { .kind = "backup" },
                                  { .vm = "vm3", .state = "completed", .kind = "backup" }, { .before = 10000 } };
  for (size_t i = 0; i < G_N_ELEMENTS (filters); i++) {
    steps_taken (catalog);
    g_autoptr (GPtrArray) jobs = bk_catalog_list_jobs (catalog, &filters[i], NULL);
    ck_assert_uint_eq (jobs->len, 100);
    int steps = steps_taken (catalog);
    ck_assert_msg (steps < 100 * 30, "%d steps for filter %zu", steps, i);
  }
  g_autoptr (GPtrArray) unsettled = bk_catalog_unsettled_jobs (catalog, NULL);
  g_autoptr (BkJobRecord) job = bk_catalog_get_job (catalog, "j01234", NULL);
  ck_assert_ptr_null (job); /* ambiguous: ten of them */
  ck_assert_uint_eq (unsettled->len, 0);
  ck_assert_int_lt (steps_taken (catalog), 500);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { no_statement_reads_a_whole_table, a_page_costs_the_same_in_a_long_history, NULL };
  return bk_suite_run ("catalog plans", tests);
}
