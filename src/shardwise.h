#pragma once
// What a program that links shardwise::shardwise includes. Values in, values out; all are in namespace shardwise,
// silent and thread-safe unless they say otherwise, and throw InputError (where, what, what to write instead) on bad
// input.
//
//   DiskSource disk;
//   PlanRequest question;
//   question.model_spec = "Qwen3-32B";
//   question.model = std::make_shared<const Model>(load_model(question.model_spec, disk));
//   question.cluster = parse_cluster("8xH100");
//   const PlanAnswer answer = make_plan(question);
//   std::puts(plan_json(answer).c_str());
#include "app/answer.h"         // questions and answers as values
#include "app/calibrate.h"      // measurements of a machine -> a calibration
#include "app/check.h"          // a vLLM command -> is it accepted, does it fit, what will it do
#include "app/estimate.h"       // step times by operator
#include "app/memory_answer.h"  // what every rank holds
#include "app/place.h"          // experts to ranks from their loads
#include "app/plan.h"           // ranked plans, why, launch commands and files
#include "app/simulate.h"       // vLLM's scheduler step by step
#include "base/input_error.h"   // what bad input is answered with
#include "config/text_source.h"
#include "model/load.h"        // names, directories and config.json -> Model
#include "report/report.h"     // answers -> text and JSON
#include "workload/options.h"  // text -> Workload
