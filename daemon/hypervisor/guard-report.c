/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guard-report.h"

#include "bk-json-table.h"

static const BkField bk_guard_report_fields[] = {
  STRING (BkGuardReport, state, BK_FIELD_REQUIRED),
  STRING (BkGuardReport, reason, BK_FIELD_OMIT_IF_EMPTY),
  UINT64 (BkGuardReport, file_systems, BK_FIELD_OMIT_IF_EMPTY),
  UINT64 (BkGuardReport, frozen_us, BK_FIELD_OMIT_IF_EMPTY),
  BOOL (BkGuardReport, held, BK_FIELD_OMIT_IF_EMPTY),
  END,
};
STRUCT (BkGuardReport, bk_guard_report, "report of the thaw guard");
