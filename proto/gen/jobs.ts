// Made from ../longshore/v1/jobs.proto by ../generate.ts. Do not edit.
export default {
  "nested": {
    "longshore": {
      "nested": {
        "v1": {
          "nested": {
            "Jobs": {
              "methods": {
                "Submit": {
                  "requestType": "SubmitRequest",
                  "responseType": "Job"
                },
                "Generate": {
                  "requestType": "SubmitRequest",
                  "responseType": "JobUpdate",
                  "responseStream": true
                },
                "Get": {
                  "requestType": "GetRequest",
                  "responseType": "Job"
                },
                "Watch": {
                  "requestType": "WatchRequest",
                  "responseType": "JobUpdate",
                  "responseStream": true
                },
                "Cancel": {
                  "requestType": "CancelRequest",
                  "responseType": "Job"
                }
              }
            },
            "Batches": {
              "methods": {
                "Submit": {
                  "requestType": "SubmitBatchRequest",
                  "responseType": "Batch"
                },
                "Get": {
                  "requestType": "GetRequest",
                  "responseType": "Batch"
                },
                "Cancel": {
                  "requestType": "CancelRequest",
                  "responseType": "Batch"
                }
              }
            },
            "SubmitRequest": {
              "oneofs": {
                "prompt": {
                  "oneof": [
                    "chat",
                    "text",
                    "ids"
                  ]
                },
                "_max_tokens": {
                  "oneof": [
                    "max_tokens"
                  ]
                },
                "_temperature": {
                  "oneof": [
                    "temperature"
                  ]
                },
                "_top_p": {
                  "oneof": [
                    "top_p"
                  ]
                },
                "_top_k": {
                  "oneof": [
                    "top_k"
                  ]
                },
                "_min_p": {
                  "oneof": [
                    "min_p"
                  ]
                },
                "_seed": {
                  "oneof": [
                    "seed"
                  ]
                },
                "_presence_penalty": {
                  "oneof": [
                    "presence_penalty"
                  ]
                },
                "_frequency_penalty": {
                  "oneof": [
                    "frequency_penalty"
                  ]
                },
                "_deadline_seconds": {
                  "oneof": [
                    "deadline_seconds"
                  ]
                }
              },
              "fields": {
                "model": {
                  "type": "string",
                  "id": 1
                },
                "chat": {
                  "type": "Chat",
                  "id": 2
                },
                "text": {
                  "type": "string",
                  "id": 3
                },
                "ids": {
                  "type": "TokenIds",
                  "id": 4
                },
                "max_tokens": {
                  "type": "uint32",
                  "id": 5,
                  "options": {
                    "proto3_optional": true
                  }
                },
                "temperature": {
                  "type": "double",
                  "id": 6,
                  "options": {
                    "proto3_optional": true
                  }
                },
                "top_p": {
                  "type": "double",
                  "id": 7,
                  "options": {
                    "proto3_optional": true
                  }
                },
                "top_k": {
                  "type": "uint32",
                  "id": 8,
                  "options": {
                    "proto3_optional": true
                  }
                },
                "min_p": {
                  "type": "double",
                  "id": 9,
                  "options": {
                    "proto3_optional": true
                  }
                },
                "seed": {
                  "type": "int64",
                  "id": 10,
                  "options": {
                    "proto3_optional": true
                  }
                },
                "stop": {
                  "rule": "repeated",
                  "type": "string",
                  "id": 11
                },
                "presence_penalty": {
                  "type": "double",
                  "id": 12,
                  "options": {
                    "proto3_optional": true
                  }
                },
                "frequency_penalty": {
                  "type": "double",
                  "id": 13,
                  "options": {
                    "proto3_optional": true
                  }
                },
                "logit_bias": {
                  "keyType": "uint32",
                  "type": "double",
                  "id": 14
                },
                "deadline_seconds": {
                  "type": "double",
                  "id": 15,
                  "options": {
                    "proto3_optional": true
                  }
                },
                "lane": {
                  "type": "Lane",
                  "id": 16
                },
                "idempotency_key": {
                  "type": "string",
                  "id": 17
                }
              }
            },
            "Chat": {
              "oneofs": {
                "_thinking": {
                  "oneof": [
                    "thinking"
                  ]
                }
              },
              "fields": {
                "messages": {
                  "rule": "repeated",
                  "type": "Message",
                  "id": 1
                },
                "tools": {
                  "rule": "repeated",
                  "type": "Tool",
                  "id": 2
                },
                "thinking": {
                  "type": "bool",
                  "id": 3,
                  "options": {
                    "proto3_optional": true
                  }
                },
                "effort": {
                  "type": "string",
                  "id": 4
                },
                "response_format": {
                  "type": "string",
                  "id": 5
                }
              },
              "nested": {
                "Message": {
                  "fields": {
                    "role": {
                      "type": "string",
                      "id": 1
                    },
                    "content": {
                      "type": "string",
                      "id": 2
                    },
                    "reasoning_content": {
                      "type": "string",
                      "id": 3
                    },
                    "tool_calls": {
                      "rule": "repeated",
                      "type": "ToolCall",
                      "id": 4
                    },
                    "tool_call_id": {
                      "type": "string",
                      "id": 5
                    },
                    "prefix": {
                      "type": "bool",
                      "id": 6
                    }
                  }
                },
                "Tool": {
                  "fields": {
                    "name": {
                      "type": "string",
                      "id": 1
                    },
                    "description": {
                      "type": "string",
                      "id": 2
                    },
                    "parameters": {
                      "type": "string",
                      "id": 3
                    }
                  }
                }
              }
            },
            "ToolCall": {
              "fields": {
                "id": {
                  "type": "string",
                  "id": 1
                },
                "name": {
                  "type": "string",
                  "id": 2
                },
                "arguments": {
                  "type": "string",
                  "id": 3
                }
              }
            },
            "GetRequest": {
              "fields": {
                "id": {
                  "type": "string",
                  "id": 1
                }
              }
            },
            "WatchRequest": {
              "fields": {
                "id": {
                  "type": "string",
                  "id": 1
                },
                "after": {
                  "type": "uint64",
                  "id": 2
                }
              }
            },
            "CancelRequest": {
              "fields": {
                "id": {
                  "type": "string",
                  "id": 1
                }
              }
            },
            "JobStatus": {
              "values": {
                "JOB_STATUS_UNSPECIFIED": 0,
                "JOB_STATUS_QUEUED": 1,
                "JOB_STATUS_PREFILL": 2,
                "JOB_STATUS_DECODE": 3,
                "JOB_STATUS_FINISHED": 4,
                "JOB_STATUS_FAILED": 5,
                "JOB_STATUS_CANCELLED": 6,
                "JOB_STATUS_EXPIRED": 7
              }
            },
            "Job": {
              "fields": {
                "id": {
                  "type": "string",
                  "id": 1
                },
                "model": {
                  "type": "string",
                  "id": 2
                },
                "status": {
                  "type": "JobStatus",
                  "id": 3
                },
                "created_at": {
                  "type": "uint64",
                  "id": 4
                },
                "ended_at": {
                  "type": "uint64",
                  "id": 5
                },
                "deadline_at": {
                  "type": "uint64",
                  "id": 6
                },
                "prompt_tokens": {
                  "type": "uint64",
                  "id": 7
                },
                "output_tokens": {
                  "type": "uint64",
                  "id": 8
                },
                "prefill": {
                  "type": "PrefillProgress",
                  "id": 9
                },
                "answer": {
                  "type": "Answer",
                  "id": 10
                },
                "usage": {
                  "type": "Usage",
                  "id": 11
                },
                "error": {
                  "type": "JobError",
                  "id": 12
                }
              }
            },
            "PrefillProgress": {
              "fields": {
                "done": {
                  "type": "uint64",
                  "id": 1
                },
                "total": {
                  "type": "uint64",
                  "id": 2
                },
                "cached": {
                  "type": "uint64",
                  "id": 3
                }
              }
            },
            "Answer": {
              "fields": {
                "reasoning": {
                  "type": "string",
                  "id": 1
                },
                "content": {
                  "type": "string",
                  "id": 2
                },
                "tool_calls": {
                  "rule": "repeated",
                  "type": "ToolCall",
                  "id": 3
                },
                "finish_reason": {
                  "type": "string",
                  "id": 4
                }
              }
            },
            "JobError": {
              "fields": {
                "code": {
                  "type": "string",
                  "id": 1
                },
                "message": {
                  "type": "string",
                  "id": 2
                }
              }
            },
            "JobUpdate": {
              "fields": {
                "id": {
                  "type": "string",
                  "id": 1
                },
                "sequence": {
                  "type": "uint64",
                  "id": 2
                },
                "status": {
                  "type": "JobStatus",
                  "id": 3
                },
                "prefill": {
                  "type": "PrefillProgress",
                  "id": 4
                },
                "deltas": {
                  "rule": "repeated",
                  "type": "AnswerDelta",
                  "id": 5
                },
                "usage": {
                  "type": "Usage",
                  "id": 6
                },
                "finish_reason": {
                  "type": "string",
                  "id": 7
                },
                "error": {
                  "type": "JobError",
                  "id": 8
                }
              }
            },
            "AnswerDelta": {
              "oneofs": {
                "delta": {
                  "oneof": [
                    "reasoning",
                    "content",
                    "call",
                    "arguments"
                  ]
                }
              },
              "fields": {
                "reasoning": {
                  "type": "string",
                  "id": 1
                },
                "content": {
                  "type": "string",
                  "id": 2
                },
                "call": {
                  "type": "CallStart",
                  "id": 3
                },
                "arguments": {
                  "type": "CallArguments",
                  "id": 4
                }
              },
              "nested": {
                "CallStart": {
                  "fields": {
                    "index": {
                      "type": "uint32",
                      "id": 1
                    },
                    "id": {
                      "type": "string",
                      "id": 2
                    },
                    "name": {
                      "type": "string",
                      "id": 3
                    }
                  }
                },
                "CallArguments": {
                  "fields": {
                    "index": {
                      "type": "uint32",
                      "id": 1
                    },
                    "text": {
                      "type": "string",
                      "id": 2
                    }
                  }
                }
              }
            },
            "SubmitBatchRequest": {
              "oneofs": {
                "_output_expires_after_seconds": {
                  "oneof": [
                    "output_expires_after_seconds"
                  ]
                }
              },
              "fields": {
                "input_file_id": {
                  "type": "string",
                  "id": 1
                },
                "endpoint": {
                  "type": "string",
                  "id": 2
                },
                "metadata": {
                  "keyType": "string",
                  "type": "string",
                  "id": 3
                },
                "idempotency_key": {
                  "type": "string",
                  "id": 4
                },
                "output_expires_after_seconds": {
                  "type": "uint64",
                  "id": 5,
                  "options": {
                    "proto3_optional": true
                  }
                }
              }
            },
            "Batch": {
              "fields": {
                "id": {
                  "type": "string",
                  "id": 1
                },
                "endpoint": {
                  "type": "string",
                  "id": 2
                },
                "model": {
                  "type": "string",
                  "id": 3
                },
                "status": {
                  "type": "string",
                  "id": 4
                },
                "input_file_id": {
                  "type": "string",
                  "id": 5
                },
                "output_file_id": {
                  "type": "string",
                  "id": 6
                },
                "error_file_id": {
                  "type": "string",
                  "id": 7
                },
                "created_at": {
                  "type": "uint64",
                  "id": 8
                },
                "in_progress_at": {
                  "type": "uint64",
                  "id": 9
                },
                "expires_at": {
                  "type": "uint64",
                  "id": 10
                },
                "finalizing_at": {
                  "type": "uint64",
                  "id": 11
                },
                "completed_at": {
                  "type": "uint64",
                  "id": 12
                },
                "failed_at": {
                  "type": "uint64",
                  "id": 13
                },
                "expired_at": {
                  "type": "uint64",
                  "id": 14
                },
                "cancelling_at": {
                  "type": "uint64",
                  "id": 15
                },
                "cancelled_at": {
                  "type": "uint64",
                  "id": 16
                },
                "request_counts": {
                  "type": "RequestCounts",
                  "id": 17
                },
                "problems": {
                  "rule": "repeated",
                  "type": "BatchProblem",
                  "id": 18
                },
                "usage": {
                  "type": "BatchUsage",
                  "id": 19
                },
                "metadata": {
                  "keyType": "string",
                  "type": "string",
                  "id": 20
                }
              },
              "nested": {
                "RequestCounts": {
                  "fields": {
                    "total": {
                      "type": "uint64",
                      "id": 1
                    },
                    "completed": {
                      "type": "uint64",
                      "id": 2
                    },
                    "failed": {
                      "type": "uint64",
                      "id": 3
                    }
                  }
                },
                "BatchProblem": {
                  "fields": {
                    "code": {
                      "type": "string",
                      "id": 1
                    },
                    "message": {
                      "type": "string",
                      "id": 2
                    },
                    "param": {
                      "type": "string",
                      "id": 3
                    },
                    "line": {
                      "type": "uint64",
                      "id": 4
                    }
                  }
                },
                "BatchUsage": {
                  "fields": {
                    "input_tokens": {
                      "type": "uint64",
                      "id": 1
                    },
                    "cached_tokens": {
                      "type": "uint64",
                      "id": 2
                    },
                    "output_tokens": {
                      "type": "uint64",
                      "id": 3
                    },
                    "reasoning_tokens": {
                      "type": "uint64",
                      "id": 4
                    }
                  }
                }
              }
            },
            "Lane": {
              "values": {
                "INTERACTIVE": 0,
                "BATCH": 1
              }
            },
            "Phase": {
              "values": {
                "PREFILL": 0,
                "DECODE": 1
              }
            },
            "TokenIds": {
              "fields": {
                "ids": {
                  "rule": "repeated",
                  "type": "int32",
                  "id": 1
                }
              }
            },
            "Sampling": {
              "oneofs": {
                "_presence_penalty": {
                  "oneof": [
                    "presence_penalty"
                  ]
                },
                "_frequency_penalty": {
                  "oneof": [
                    "frequency_penalty"
                  ]
                },
                "_top_logprobs": {
                  "oneof": [
                    "top_logprobs"
                  ]
                }
              },
              "fields": {
                "temperature": {
                  "type": "double",
                  "id": 1
                },
                "top_p": {
                  "type": "double",
                  "id": 2
                },
                "top_k": {
                  "type": "int32",
                  "id": 3
                },
                "min_p": {
                  "type": "double",
                  "id": 4
                },
                "seed": {
                  "type": "fixed64",
                  "id": 5
                },
                "bias": {
                  "type": "LogitBias",
                  "id": 6
                },
                "presence_penalty": {
                  "type": "double",
                  "id": 7,
                  "options": {
                    "proto3_optional": true
                  }
                },
                "frequency_penalty": {
                  "type": "double",
                  "id": 8,
                  "options": {
                    "proto3_optional": true
                  }
                },
                "top_logprobs": {
                  "type": "int32",
                  "id": 9,
                  "options": {
                    "proto3_optional": true
                  }
                }
              }
            },
            "LogitBias": {
              "fields": {
                "ids": {
                  "rule": "repeated",
                  "type": "int32",
                  "id": 1
                },
                "values": {
                  "rule": "repeated",
                  "type": "double",
                  "id": 2
                }
              }
            },
            "TokenLogprobs": {
              "fields": {
                "logprob": {
                  "type": "double",
                  "id": 1
                },
                "top": {
                  "rule": "repeated",
                  "type": "Alternative",
                  "id": 2
                }
              },
              "nested": {
                "Alternative": {
                  "fields": {
                    "id": {
                      "type": "int32",
                      "id": 1
                    },
                    "logprob": {
                      "type": "double",
                      "id": 2
                    }
                  }
                }
              }
            },
            "JobRequest": {
              "oneofs": {
                "prompt": {
                  "oneof": [
                    "inline",
                    "payload"
                  ]
                }
              },
              "fields": {
                "model": {
                  "type": "string",
                  "id": 1
                },
                "tenant": {
                  "type": "string",
                  "id": 2
                },
                "lane": {
                  "type": "Lane",
                  "id": 3
                },
                "surplus": {
                  "type": "bool",
                  "id": 15
                },
                "inline": {
                  "type": "TokenIds",
                  "id": 4
                },
                "payload": {
                  "type": "string",
                  "id": 5
                },
                "prompt_tokens": {
                  "type": "uint64",
                  "id": 6
                },
                "max_tokens": {
                  "type": "uint64",
                  "id": 7
                },
                "sampling": {
                  "type": "Sampling",
                  "id": 8
                },
                "stop": {
                  "rule": "repeated",
                  "type": "string",
                  "id": 9
                },
                "stop_ids": {
                  "rule": "repeated",
                  "type": "int32",
                  "id": 10
                },
                "deadline_ms": {
                  "type": "uint64",
                  "id": 11
                },
                "detached": {
                  "type": "bool",
                  "id": 12
                },
                "view": {
                  "type": "string",
                  "id": 13
                },
                "constraint": {
                  "type": "Constraint",
                  "id": 14
                }
              }
            },
            "Constraint": {
              "oneofs": {
                "_after": {
                  "oneof": [
                    "after"
                  ]
                },
                "_blank": {
                  "oneof": [
                    "blank"
                  ]
                }
              },
              "fields": {
                "schema": {
                  "type": "string",
                  "id": 1
                },
                "after": {
                  "type": "int32",
                  "id": 2,
                  "options": {
                    "proto3_optional": true
                  }
                },
                "instead": {
                  "rule": "repeated",
                  "type": "int32",
                  "id": 3
                },
                "blank": {
                  "type": "int32",
                  "id": 4,
                  "options": {
                    "proto3_optional": true
                  }
                }
              }
            },
            "Usage": {
              "fields": {
                "prompt_tokens": {
                  "type": "uint64",
                  "id": 1
                },
                "completion_tokens": {
                  "type": "uint64",
                  "id": 2
                },
                "cached_tokens": {
                  "type": "uint64",
                  "id": 3
                }
              }
            },
            "LogRecord": {
              "oneofs": {
                "event": {
                  "oneof": [
                    "submitted",
                    "claimed",
                    "progress",
                    "tokens",
                    "handed_over",
                    "sent_back",
                    "released",
                    "finished",
                    "failed",
                    "cancelled",
                    "expired"
                  ]
                }
              },
              "fields": {
                "sequence": {
                  "type": "uint64",
                  "id": 1
                },
                "previous": {
                  "type": "uint64",
                  "id": 2
                },
                "epoch": {
                  "type": "uint64",
                  "id": 3
                },
                "phase": {
                  "type": "Phase",
                  "id": 4
                },
                "attempt": {
                  "type": "uint64",
                  "id": 5
                },
                "token_count": {
                  "type": "uint64",
                  "id": 6
                },
                "at_ms": {
                  "type": "uint64",
                  "id": 7
                },
                "submitted": {
                  "type": "Submitted",
                  "id": 16
                },
                "claimed": {
                  "type": "Claimed",
                  "id": 17
                },
                "progress": {
                  "type": "Progress",
                  "id": 18
                },
                "tokens": {
                  "type": "Tokens",
                  "id": 19
                },
                "handed_over": {
                  "type": "HandedOver",
                  "id": 20
                },
                "sent_back": {
                  "type": "SentBack",
                  "id": 21
                },
                "released": {
                  "type": "Released",
                  "id": 22
                },
                "finished": {
                  "type": "Finished",
                  "id": 23
                },
                "failed": {
                  "type": "Failed",
                  "id": 24
                },
                "cancelled": {
                  "type": "Cancelled",
                  "id": 25
                },
                "expired": {
                  "type": "Expired",
                  "id": 26
                }
              }
            },
            "Submitted": {
              "fields": {
                "request": {
                  "type": "JobRequest",
                  "id": 1
                }
              }
            },
            "Claimed": {
              "fields": {
                "worker": {
                  "type": "string",
                  "id": 1
                }
              }
            },
            "Progress": {
              "oneofs": {
                "_cached": {
                  "oneof": [
                    "cached"
                  ]
                }
              },
              "fields": {
                "done": {
                  "type": "uint64",
                  "id": 1
                },
                "total": {
                  "type": "uint64",
                  "id": 2
                },
                "stored": {
                  "type": "uint64",
                  "id": 3
                },
                "cached": {
                  "type": "uint64",
                  "id": 4,
                  "options": {
                    "proto3_optional": true
                  }
                }
              }
            },
            "Tokens": {
              "fields": {
                "first": {
                  "type": "uint64",
                  "id": 1
                },
                "ids": {
                  "rule": "repeated",
                  "type": "int32",
                  "id": 2
                },
                "logprobs": {
                  "rule": "repeated",
                  "type": "TokenLogprobs",
                  "id": 3
                }
              }
            },
            "HandedOver": {
              "fields": {
                "token": {
                  "type": "int32",
                  "id": 1
                },
                "boundary": {
                  "type": "uint64",
                  "id": 2
                },
                "cached": {
                  "type": "uint64",
                  "id": 3
                },
                "recomputed": {
                  "type": "uint64",
                  "id": 4
                },
                "logprobs": {
                  "type": "TokenLogprobs",
                  "id": 5
                }
              }
            },
            "SentBack": {
              "fields": {
                "reason": {
                  "type": "string",
                  "id": 1
                }
              }
            },
            "Released": {
              "oneofs": {
                "_excused": {
                  "oneof": [
                    "excused"
                  ]
                }
              },
              "fields": {
                "reason": {
                  "type": "string",
                  "id": 1
                },
                "excused": {
                  "type": "bool",
                  "id": 2,
                  "options": {
                    "proto3_optional": true
                  }
                }
              }
            },
            "Finished": {
              "fields": {
                "reason": {
                  "type": "Reason",
                  "id": 1
                },
                "usage": {
                  "type": "Usage",
                  "id": 2
                },
                "tokens": {
                  "type": "Tokens",
                  "id": 3
                }
              },
              "nested": {
                "Reason": {
                  "values": {
                    "STOP": 0,
                    "LENGTH": 1
                  }
                }
              }
            },
            "Failed": {
              "fields": {
                "code": {
                  "type": "string",
                  "id": 1
                },
                "message": {
                  "type": "string",
                  "id": 2
                }
              }
            },
            "Cancelled": {
              "fields": {
                "by": {
                  "type": "string",
                  "id": 1
                }
              }
            },
            "Expired": {
              "fields": {}
            },
            "WorkItem": {
              "oneofs": {
                "_follows": {
                  "oneof": [
                    "follows"
                  ]
                },
                "_output_tokens": {
                  "oneof": [
                    "output_tokens"
                  ]
                }
              },
              "fields": {
                "job_id": {
                  "type": "string",
                  "id": 1
                },
                "follows": {
                  "type": "uint64",
                  "id": 2,
                  "options": {
                    "proto3_optional": true
                  }
                },
                "prompt_tokens": {
                  "type": "uint64",
                  "id": 3
                },
                "output_tokens": {
                  "type": "uint64",
                  "id": 4,
                  "options": {
                    "proto3_optional": true
                  }
                },
                "log": {
                  "rule": "repeated",
                  "type": "bytes",
                  "id": 5
                }
              }
            }
          }
        }
      }
    }
  }
};
