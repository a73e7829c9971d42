/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What a plan calls things: targets, backing images, bitmaps; and how it is told.
 */
#include "plan-case.h"
#include "suite.h"

#include <string.h>

typedef struct {
  const char *disks, *request;
  const char *targets[2];
  const char *driver, *format;
} TargetRow;

static const TargetRow target_rows[] = {
  { "vda", NULL, { "/repo/web01/B/vda.qcow2" }, "file", "qcow2" },
  { "vda vdb", NULL, { "/repo/web01/B/vda.qcow2", "/repo/web01/B/vdb.qcow2" }, "file", "qcow2" },
  { "a/b .x", NULL, { "/repo/web01/B/a%2Fb.qcow2", "/repo/web01/B/%2Ex.qcow2" }, "file", "qcow2" },
  { "vda", "'target': '/t/x.img'", { "/t/x.img" }, "file", "qcow2" },
  { "vda", "'target': '/t/x.img', 'format': 'raw'", { "/t/x.img" }, "file", "raw" },
  { "vda v#b", "'target': '/t'", { "/t/vda.qcow2", "/t/v%23b.qcow2" }, "file", "qcow2" },
  { "vda vdb", "'target': '/t/', 'format': 'raw'", { "/t/vda.raw", "/t/vdb.raw" }, "file", "raw" },
  { "vda vdb", "'target': '/'", { "/vda.qcow2", "/vdb.qcow2" }, "file", "qcow2" },
  { "vda", "'target': 'nbd://h:10809/x'", { "nbd://h:10809/x" }, "nbd", "raw" },
  { "vda", "'target': 'nbd+unix:///x?socket=/s', 'format': 'qcow2'", { "nbd+unix:///x?socket=/s" }, "nbd", "qcow2" },
  { "vda v#b", "'target': 'nbd://h/{disk}'", { "nbd://h/vda", "nbd://h/v%23b" }, "nbd", "raw" },
  { "vda", "'target': 'nbd://h/{disk}'", { "nbd://h/vda" }, "nbd", "raw" },
};

static void
check_targets (const TargetRow *row)
{
  PlanTexts texts = { row->disks, NULL, NULL, NULL, row->request };
  g_autoptr (PlanCase) plan_case = plan_case_new (&texts);
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRun) run = plan_case_plan (plan_case, &error);
  bk_assert_no_error (error);
  ck_assert_ptr_null (run->prefix);
  const char *folder = plan_case->request->target ? NULL : "/repo/web01/B";
  ck_assert (bk_plan_name (run, plan_case->request, CASE_INSTANCE, 42, folder, &error));
  ck_assert_str_eq (run->prefix, "bkd-" CASE_INSTANCE "-42");
  for (unsigned i = 0; i < run->disks->len; i++) {
    const BkRunDisk *disk = run->disks->pdata[i];
    ck_assert_str_eq (disk->target, row->targets[i]);
    ck_assert_str_eq (disk->target_driver, row->driver);
    ck_assert_str_eq (disk->target_format, row->format);
    g_autofree char *bitmap = g_strdup_printf ("bkd-" CASE_INSTANCE "-cp-42-%u", i);
    ck_assert_str_eq (disk->bitmap, bitmap);
    ck_assert_ptr_null (disk->backing);
  }
}

START_TEST (names_targets)
{
  for (size_t i = 0; i < G_N_ELEMENTS (target_rows); i++)
    check_targets (&target_rows[i]);
}
END_TEST

START_TEST (names_the_backing_image)
{
  static const PlanTexts texts = { NULL, "c1=b1", "b1=full", "c1:r" };
  g_autoptr (PlanCase) plan_case = plan_case_new (&texts);
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRun) run = plan_case_plan (plan_case, &error);
  bk_assert_no_error (error);
  ck_assert (bk_plan_name (run, plan_case->request, CASE_INSTANCE, 1, "/repo/web01/B", &error));
  ck_assert_str_eq (((BkRunDisk *)run->disks->pdata[0])->backing, "../b1/vda.qcow2");
}
END_TEST

START_TEST (names_no_bitmap_where_none_is_made)
{
  static const PlanTexts texts = { "vda:r", NULL, NULL, NULL, "'disks': ['vda']" };
  g_autoptr (PlanCase) plan_case = plan_case_new (&texts);
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRun) run = plan_case_plan (plan_case, &error);
  bk_assert_no_error (error);
  ck_assert (bk_plan_name (run, plan_case->request, CASE_INSTANCE, 1, "/repo/web01/B", &error));
  ck_assert_ptr_null (((BkRunDisk *)run->disks->pdata[0])->bitmap);
}
END_TEST

START_TEST (refuses_to_name_one_export_for_two_disks)
{
  static const PlanTexts texts = { "vda vdb", NULL, NULL, NULL, "'target': 'nbd://h/{disk}'" };
  g_autoptr (PlanCase) plan_case = plan_case_new (&texts);
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRun) run = plan_case_plan (plan_case, &error);
  bk_assert_no_error (error);
  g_free (plan_case->request->target);
  plan_case->request->target = g_strdup ("nbd://h/x");
  ck_assert (!bk_plan_name (run, plan_case->request, CASE_INSTANCE, 1, NULL, &error));
  bk_assert_error (error, BK_ERROR_INVALID);
}
END_TEST

START_TEST (describes_the_plan)
{
  static const PlanTexts texts = { "vda vdb", "c1=b1", "b1=full", "c1:r" };
  g_autoptr (PlanCase) plan_case = plan_case_new (&texts);
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRun) run = plan_case_plan (plan_case, &error);
  bk_assert_no_error (error);
  g_autoptr (BkPlanInfo) unnamed = bk_plan_describe (run, &plan_case->input, NULL);
  ck_assert_ptr_null (unnamed->reason);
  ck_assert_ptr_null (((BkPlanDiskInfo *)unnamed->disks->pdata[0])->target);
  ck_assert (bk_plan_name (run, plan_case->request, CASE_INSTANCE, 1, "/r/B", &error));
  g_autoptr (BkPlanInfo) info = bk_plan_describe (run, &plan_case->input, "because");
  g_autoptr (json_object) json = bk_struct_to_json (&bk_plan_info_struct, info);
  ck_assert_str_eq (json_object_to_json_string_ext (json, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
                    "{\"vm\":\"web01\",\"mode\":\"push\",\"reason\":\"because\",\"repository\":\"default\",\"disks\":["
                    "{\"name\":\"vda\",\"level\":\"incremental\",\"reason\":\"checkpoint 'c1' is intact\","
                    "\"size\":10737418240,\"bytes_estimated\":1048576,\"target\":\"/r/B/vda.qcow2\","
                    "\"base_checkpoint\":\"c1\"},"
                    "{\"name\":\"vdb\",\"level\":\"full\","
                    "\"reason\":\"first backup of this disk in repository 'default'\","
                    "\"size\":10737418240,\"bytes_estimated\":10737418240,\"target\":\"/r/B/vdb.qcow2\","
                    "\"base_checkpoint\":null}]}");
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { names_targets, names_the_backing_image, names_no_bitmap_where_none_is_made, refuses_to_name_one_export_for_two_disks,
                                 describes_the_plan, NULL };
  return bk_suite_run ("plan-names", tests);
}
