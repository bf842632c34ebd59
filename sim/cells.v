// Models of the blocks of FPGAs that the design instantiates, as far as it uses them: written after
// the vendors' guides, not after the design. Yosys has black boxes in their place.

// Lattice, "ECP5 and ECP5-5G sysDSP Usage Guide" (FPGA-TN-02205).
module MULT18X18D #(
    parameter REG_INPUTA_CLK = "NONE", REG_INPUTA_CE = "CE0", REG_INPUTA_RST = "RST0",
    parameter REG_INPUTB_CLK = "NONE", REG_INPUTB_CE = "CE0", REG_INPUTB_RST = "RST0",
    parameter REG_PIPELINE_CLK = "NONE", REG_PIPELINE_CE = "CE0", REG_PIPELINE_RST = "RST0",
    parameter REG_OUTPUT_CLK = "NONE", REG_OUTPUT_CE = "CE0", REG_OUTPUT_RST = "RST0",
    parameter RESETMODE = "SYNC"
) (
    input A0, A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11, A12, A13, A14, A15, A16, A17,
    input B0, B1, B2, B3, B4, B5, B6, B7, B8, B9, B10, B11, B12, B13, B14, B15, B16, B17,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, CE0, RST0,
    output P0, P1, P2, P3, P4, P5, P6, P7, P8, P9, P10, P11, P12, P13, P14, P15, P16, P17,
    output P18, P19, P20, P21, P22, P23, P24, P25, P26, P27, P28, P29, P30, P31, P32, P33, P34, P35
);
  wire [17:0] a = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
  wire [17:0] b = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
  reg [17:0] a_in = 0, b_in = 0;
  reg [35:0] middle = 0, out = 0;
  wire [17:0] left = REG_INPUTA_CLK == "CLK0" ? a_in : a;
  wire [17:0] right = REG_INPUTB_CLK == "CLK0" ? b_in : b;
  wire [35:0] product =
      {{18{SIGNEDA & left[17]}}, left} * {{18{SIGNEDB & right[17]}}, right};
  wire [35:0] behind = REG_PIPELINE_CLK == "CLK0" ? middle : product;
  assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
          P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} =
      REG_OUTPUT_CLK == "CLK0" ? out : behind;
  always @(posedge CLK0)
    if (RST0) begin
      a_in <= 0;
      b_in <= 0;
      middle <= 0;
      out <= 0;
    end else if (CE0) begin
      a_in <= a;
      b_in <= b;
      middle <= product;
      out <= behind;
    end
endmodule

// Lattice, "DSP Function Usage Guide for iCE40 Devices" (FPGA-TN-02007): one 16 x 16 product.
module SB_MAC16 #(
    parameter A_REG = 0, B_REG = 0, TOP_8x8_MULT_REG = 0, BOT_8x8_MULT_REG = 0,
    parameter PIPELINE_16x16_MULT_REG1 = 0, PIPELINE_16x16_MULT_REG2 = 0,
    parameter TOPOUTPUT_SELECT = 0, BOTOUTPUT_SELECT = 0, A_SIGNED = 0, B_SIGNED = 0
) (
    input CLK, CE,
    input [15:0] A, B, C, D,
    input AHOLD, BHOLD, CHOLD, DHOLD, IRSTTOP, IRSTBOT, ORSTTOP, ORSTBOT, OLOADTOP, OLOADBOT,
    input ADDSUBTOP, ADDSUBBOT, OHOLDTOP, OHOLDBOT, CI, ACCUMCI, SIGNEXTIN,
    output [31:0] O
);
  reg [15:0] a_in = 0, b_in = 0;
  // The four products of bytes; the one of the upper bytes and one more in the upper half.
  reg [31:0] parts = 0, out = 0;
  wire [15:0] a = A_REG ? a_in : A, b = B_REG ? b_in : B;
  wire [31:0] product = {{16{A_SIGNED && a[15]}}, a} * {{16{B_SIGNED && b[15]}}, b};
  wire registered = TOP_8x8_MULT_REG && BOT_8x8_MULT_REG && PIPELINE_16x16_MULT_REG1;
  wire [31:0] sum = registered ? parts : product;
  wire [31:0] result = PIPELINE_16x16_MULT_REG2 ? out : sum;
  assign O[31:16] = TOPOUTPUT_SELECT == 3 ? result[31:16] : 16'hxxxx;
  assign O[15:0] = BOTOUTPUT_SELECT == 3 ? result[15:0] : 16'hxxxx;
  always @(posedge CLK or posedge IRSTTOP)
    if (IRSTTOP) a_in <= 0;
    else if (CE && !AHOLD) a_in <= A;
  always @(posedge CLK or posedge IRSTBOT)
    if (IRSTBOT) b_in <= 0;
    else if (CE && !BHOLD) b_in <= B;
  always @(posedge CLK or posedge IRSTBOT)
    if (IRSTBOT) begin
      parts <= 0;
      out <= 0;
    end else if (CE) begin
      parts <= product;
      out <= sum;
    end
endmodule

// Lattice, "ECP5 and ECP5-5G Memory Usage Guide" (FPGA-TN-02204): two ports of equal width.
module DP16KD #(
    parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18, REGMODE_A = "NOREG", REGMODE_B = "NOREG",
    parameter RESETMODE = "SYNC", WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL", GSR = "ENABLED"
) (
    input CLKA, CEA, OCEA, RSTA, WEA, CSA0, CSA1, CSA2,
    input CLKB, CEB, OCEB, RSTB, WEB, CSB0, CSB1, CSB2,
    input ADA0, ADA1, ADA2, ADA3, ADA4, ADA5, ADA6, ADA7, ADA8, ADA9, ADA10, ADA11, ADA12, ADA13,
    input ADB0, ADB1, ADB2, ADB3, ADB4, ADB5, ADB6, ADB7, ADB8, ADB9, ADB10, ADB11, ADB12, ADB13,
    input DIA0, DIA1, DIA2, DIA3, DIA4, DIA5, DIA6, DIA7, DIA8,
    input DIA9, DIA10, DIA11, DIA12, DIA13, DIA14, DIA15, DIA16, DIA17,
    output DOB0, DOB1, DOB2, DOB3, DOB4, DOB5, DOB6, DOB7, DOB8,
    output DOB9, DOB10, DOB11, DOB12, DOB13, DOB14, DOB15, DOB16, DOB17
);
  localparam NARROW = DATA_WIDTH_A == 18 ? 4 : DATA_WIDTH_A == 9 ? 3 : DATA_WIDTH_A == 4 ? 2 :
                      DATA_WIDTH_A == 2 ? 1 : 0;
  wire [13:0] a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2,
                   ADA1, ADA0};
  wire [13:0] b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2,
                   ADB1, ADB0};
  wire [17:0] d = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6,
                   DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
  reg [DATA_WIDTH_A-1:0] memory [0:(1 << (14 - NARROW))-1];
  reg [17:0] read = 0, out = 0;
  // In words of two bytes, the lowest bits of the address say which of them to write.
  wire [17:0] mask = DATA_WIDTH_A == 18 ? {{9{a[1]}}, {9{a[0]}}} : 18'h3ffff;
  assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5,
          DOB4, DOB3, DOB2, DOB1, DOB0} = REGMODE_B == "OUTREG" ? out : read;
  always @(posedge CLKA)
    if (CEA && WEA && !(CSA0 | CSA1 | CSA2))
      memory[a >> NARROW] <= (memory[a >> NARROW] & ~mask) | (d & mask);
  always @(posedge CLKB)
    if (RSTB) begin
      read <= 0;
      out <= 0;
    end else begin
      if (CEB && !WEB && !(CSB0 | CSB1 | CSB2)) read <= memory[b >> NARROW];
      if (OCEB) out <= read;
    end
endmodule
